package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover/internal/siemconf"
)

// wrote is what --json says of one file.
type wrote struct {
	Name    string   `json:"name"`
	Path    string   `json:"path,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	What    string   `json:"what"`
	Place   string   `json:"place"`
	Secrets bool     `json:"secrets"`
	Missing []string `json:"missing,omitempty"`
	Content string   `json:"content,omitempty"`
}

// put writes the files to where the command line says, and tells what it wrote.
func (o *siemConfig) put(c *cobra.Command, files []siemconf.File) error {
	out := c.OutOrStdout()
	list := make([]wrote, 0, len(files))
	for _, f := range files {
		list = append(list, wrote{Name: f.Name, What: f.What, Place: f.Place, Secrets: f.Secrets, Missing: f.Missing})
	}
	if o.stdout {
		if o.json {
			for i, f := range files {
				list[i].Content = string(f.Data)
			}
			return printJSON(out, list)
		}
		return printFiles(out, files)
	}
	dir := o.dir
	if dir == "" && o.zip == "" {
		dir = "siem-" + string(o.product) + "-" + o.v.Name
	}
	for _, name := range []string{dir, o.zip} {
		if _, err := os.Lstat(name); name != "" && err == nil && !o.force {
			return usageError{fmt.Errorf("%s: %w", name, errThere)}
		}
	}
	if o.zip != "" {
		if err := writeZip(o.zip, files, o.v.Generated, o.force); err != nil {
			return usageError{fmt.Errorf("write the zip file: %w", err)}
		}
	}
	if dir != "" {
		if err := writeDir(dir, files, o.force); err != nil {
			return usageError{fmt.Errorf("write the files: %w", err)}
		}
		for i := range list {
			list[i].Path, list[i].Mode = filepath.Join(dir, list[i].Name), "0600"
		}
	}
	if o.json {
		return printJSON(out, list)
	}
	for _, f := range list {
		note := ""
		if f.Secrets {
			note = ", holds a secret"
		}
		if len(f.Missing) > 0 {
			note += ", a placeholder stands for the " + strings.Join(f.Missing, " and the ")
		}
		if _, err := fmt.Fprintf(out, "wrote %s: %s%s\n", cmp.Or(f.Path, o.zip+":"+f.Name), f.What, note); err != nil {
			return err
		}
	}
	last := "The SIEM API is deprecated and may be off: README.txt names the modern way first."
	if o.withSecrets {
		last += "\nThe secret opens every customer of the app: never give these files to a customer."
	}
	_, err := fmt.Fprintln(c.ErrOrStderr(), last)
	return err
}

// printFiles prints each file below a line "-- NAME --".
func printFiles(w io.Writer, files []siemconf.File) error {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "-- %s --\n", f.Name)
		b.Write(f.Data)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// writeDir makes a directory that only its owner may enter and puts the files
// into it. Without force it must not be there; with it, files of these names are
// replaced one by one, each whole, and a link is replaced, not followed.
func writeDir(dir string, files []siemconf.File, force bool) (err error) {
	err = os.Mkdir(dir, 0o700)
	made := err == nil
	switch {
	case errors.Is(err, fs.ErrExist) && !force:
		return fmt.Errorf("%s: %w", dir, errThere)
	case err != nil && !errors.Is(err, fs.ErrExist):
		return err
	}
	var placed []string
	defer func() {
		if err != nil && made {
			for _, name := range placed {
				_ = os.Remove(name)
			}
			_ = os.Remove(dir)
		}
	}()
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		if err := writePrivate(name, f.Data, true); err != nil {
			return err
		}
		placed = append(placed, name)
	}
	return nil
}

// writeZip writes the files into one zip file, with their modes.
func writeZip(name string, files []siemconf.File, at time.Time, force bool) error {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: at.UTC()}
		h.SetMode(siemconf.Mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := w.Write(f.Data); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return writePrivate(name, b.Bytes(), force)
}
