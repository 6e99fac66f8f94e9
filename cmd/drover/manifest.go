package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/config"
	"drover/internal/format"
)

func newManifest() *cobra.Command {
	c := &cobra.Command{Use: "manifest", Short: "Check at a sink what it was given", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newManifestSearch())
	return c
}

func newManifestSearch() *cobra.Command {
	var sink, lang string
	c := &cobra.Command{Use: "search", Short: "Print a search that checks a sink's records against its manifests", Args: noArgs,
		Long: `search prints, in the language of where the records are, a search that names
tenant and hour of what is missing, repeated, altered or was never sent by drover.
The sink must have manifests: true. See docs/manifests.md.

  spl    Splunk          kql   Microsoft Sentinel, Log Analytics
  esql   Elasticsearch   shell files, with jq, awk and sha256sum`,
		Example: "  drover manifest search --sink archive --lang shell > check.sh && sh check.sh",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			s, ok := cfg.Sinks[drover.SinkID(sink)]
			if !ok {
				var known []string
				for _, id := range cfg.SinkIDs() {
					known = append(known, string(id))
				}
				return usageError{fmt.Errorf("there is no sink %q; known are: %s", sink, strings.Join(known, ", "))}
			}
			if lang == "" {
				if lang = "shell"; s.Type == config.TypeSplunkHEC {
					lang = "spl"
				}
			}
			at := format.SearchAt{}
			if s.File != nil {
				at.Root = s.File.Root
			}
			if s.SplunkHEC != nil {
				at.Index, at.Sourcetype = s.SplunkHEC.Index, s.SplunkHEC.Sourcetype
				// Where tenants have their own, one search has to look at all of them.
				for _, own := range s.SplunkHEC.Tenants {
					if own.Index != "" {
						at.Index = "*"
					}
					if own.Sourcetype != "" {
						at.Sourcetype = "*"
					}
				}
			}
			if !slices.Contains(format.Languages, lang) {
				return usageError{fmt.Errorf("there is no language %q; known are: %s", lang, strings.Join(format.Languages, ", "))}
			}
			text, err := format.ManifestSearch(lang, at)
			if err != nil {
				return err
			}
			if !s.Manifests {
				if _, err := fmt.Fprintf(c.ErrOrStderr(), "the sink %s gets no manifests: set manifests: true\n", s.ID); err != nil {
					return err
				}
			}
			_, err = io.WriteString(c.OutOrStdout(), text)
			return err
		}}
	c.Flags().StringVar(&sink, "sink", "", "the sink, by its ID in the config")
	c.Flags().StringVar(&lang, "lang", "", "spl, kql, esql or shell (default: spl for Splunk, else shell)")
	_ = c.MarkFlagRequired("sink") // the flag is there
	return c
}
