package main

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

// licences are the terms of what others wrote and this binary holds: each text once,
// below the modules that it is of. TestLicences makes it from the modules themselves.
//
//go:embed licences.txt
var licences string

func newLicences() *cobra.Command {
	return &cobra.Command{
		Use:   "licences",
		Short: "Print the licences of the libraries in this binary",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), licences)
			return err
		},
	}
}
