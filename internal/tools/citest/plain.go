package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Tests that go through a great many cases one after the other, with nothing
// beside them for the race detector to find, are marked by the last line of
// their comment:
//
//	//citest:plain WHY
//
// They run without the detector, which makes them ten times slower; what they
// call is run under it by the package's other tests.
var (
	plainMark = regexp.MustCompile(`(?m)^//citest:plain`)
	plainTest = regexp.MustCompile(`(?m)^//citest:plain \S.*\nfunc (Test\w+)\(t \*testing\.T\)`)
)

// plain is the tests that run without the race detector.
type plain struct {
	names, dirs []string
}

// match is what -run and -skip take.
func (p plain) match() string { return "^(" + strings.Join(p.names, "|") + ")$" }

// plainTests finds the marked tests outside the rigs. A mark that marks nothing
// is an error, and so is a name that two tests have, one of which would be run
// by neither way.
func plainTests() (p plain, err error) {
	var all []string
	err = testFiles(func(path string, text []byte) error {
		for _, m := range anyTest.FindAllSubmatch(text, -1) {
			all = append(all, string(m[1]))
		}
		found := plainTest.FindAllSubmatch(text, -1)
		if n := len(plainMark.FindAll(text, -1)); n != len(found) {
			return fmt.Errorf("%s: %d of %d marks //citest:plain have a reason and stand right above a test", path, len(found), n)
		}
		for _, m := range found {
			p.names = append(p.names, string(m[1]))
		}
		if len(found) > 0 && isRig("drover/"+filepath.ToSlash(path)) {
			return fmt.Errorf("%s: rigs run without the race detector anyway; take the mark //citest:plain away", path)
		}
		if dir := folder(path); len(found) > 0 && !slices.Contains(p.dirs, dir) {
			p.dirs = append(p.dirs, dir)
		}
		return nil
	})
	for _, name := range p.names {
		if err == nil && len(slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n != name })) > 1 {
			err = fmt.Errorf("%s, marked //citest:plain, has the name of another test", name)
		}
	}
	return p, err
}

var anyTest = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// withTag lists the folders that have a test file behind the tag.
func withTag(tag string) (dirs []string, err error) {
	line := regexp.MustCompile(`(?m)^//go:build .*\b` + tag + `\b`)
	err = testFiles(func(path string, text []byte) error {
		if dir := folder(path); line.Match(text) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return nil
	})
	return dirs, err
}

// folder is a file's package, as the go command takes it.
func folder(path string) string { return "./" + filepath.ToSlash(filepath.Dir(path)) }

// testFiles reads every test file of this module.
func testFiles(each func(path string, text []byte) error) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir // a module of its own
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return each(path, text)
	})
}
