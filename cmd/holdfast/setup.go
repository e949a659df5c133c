package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

// newSetup is the command that says how a server becomes known to Entra ID.
func newSetup() *cobra.Command {
	var name, shell string
	var workloads []string
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Print a script that registers a server at Entra ID",
		Long: `Setup prints a script for an administrator of the tenant to read and to run. It
registers two applications: the API that this server is, whose permissions your
own applications and people are granted, and the source, with which the server
reads and writes the tenant's drives. The script ends with what belongs into the
server's configuration. Setup itself calls nobody.

docs/entra.md has the same by hand, in the portal.`,
		Example: `  holdfast setup > register.sh && less register.sh && sh register.sh
  holdfast setup --shell powershell > register.ps1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if strings.ContainsAny(name, "'\"\\$`\n") {
				return usageError{fmt.Errorf("--name is put into a script: leave quotes, backslashes and dollars out of it")}
			}
			return writeSetup(cmd.OutOrStdout(), shell, name, workloads...)
		},
	}
	cmd.Flags().StringVar(&name, "name", "Holdfast", "what the applications are called in the tenant")
	cmd.Flags().StringVar(&shell, "shell", "az", "az, for the Azure CLI in a POSIX shell, or powershell, for the module Microsoft.Graph")
	cmd.Flags().StringSliceVar(&workloads, "workloads", []string{string(backup.OneDrive)}, "what is to be protected; with exchange the source may read and restore mailboxes, too")
	return cmd
}

//go:embed setup.sh.tmpl
var setupAz string

//go:embed setup.ps1.tmpl
var setupPowerShell string

// A setupPermission is a permission of the API, as Entra ID is told of it.
type setupPermission struct{ ID, Value, Title, Text string }

// setupPermissions are all permissions that some operation asks for.
func setupPermissions() []setupPermission {
	var all []setupPermission
	for _, p := range []struct {
		value       identity.Permission
		title, text string
	}{
		{identity.ConfigurationRead, "Read backup configuration", "Read protection policies, units, rules and jobs."},
		{identity.ConfigurationWrite, "Change backup configuration", "Read and change protection policies, units, rules and jobs."},
		{identity.ControlRead, "Read the backup service's state", "Read the state of the service and its applications."},
		{identity.ControlWrite, "Control the backup service", "Enable the service, and read and change its applications."},
		{identity.RestoreRead, "Read restores", "Read restore points, sessions and their results."},
		{identity.RestoreWrite, "Restore backups", "Browse backups, and restore them."},
		{identity.SearchRead, "Search backups", "Search restore points."},
	} {
		all = append(all, setupPermission{setupID(string(p.value)), string(p.value), p.title, p.text})
	}
	return all
}

// setupID is an id that is the same whenever the same is registered.
func setupID(name string) string {
	sum := sha256.Sum256([]byte("holdfast permission " + name))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of version 8
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// sourcePermissions are those on Microsoft Graph that the source application needs, and
// those for mailboxes.
var (
	sourcePermissions = []string{"Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All", "Sites.Manage.All"}
	mailPermissions   = []string{"MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.Read"}
)

// setupBody is what the API's registration is changed to, in JSON.
func setupBody() (string, error) {
	var scopes, roles []map[string]any
	for _, p := range setupPermissions() {
		scopes = append(scopes, map[string]any{
			"id": setupID("delegated " + p.Value), "value": p.Value, "type": "Admin", "isEnabled": true,
			"adminConsentDisplayName": p.Title, "adminConsentDescription": p.Text,
		})
		roles = append(roles, map[string]any{
			"id": p.ID, "value": p.Value, "displayName": p.Title, "description": p.Text, "isEnabled": true, "allowedMemberTypes": []string{"Application"},
		})
	}
	for _, r := range identity.Roles {
		roles = append(roles, map[string]any{
			"id": setupID(r.Claim()), "value": r.Claim(), "displayName": r.Title(), "description": r.Title() + ": " + r.Text(), "isEnabled": true, "allowedMemberTypes": []string{"User"},
		})
	}
	b, err := json.MarshalIndent(map[string]any{
		"api": map[string]any{"requestedAccessTokenVersion": 2, "oauth2PermissionScopes": scopes}, "appRoles": roles,
		"groupMembershipClaims": "DirectoryRole", // which browsing asks of people
	}, "", "  ")
	return string(b), err
}

// writeSetup writes the script for a server that protects some workloads.
func writeSetup(w io.Writer, shell, name string, workloads ...string) error {
	source, protected := sourcePermissions, ""
	for _, text := range workloads {
		of, err := oneOf(text, string(backup.OneDrive), string(backup.SharePoint), string(backup.Exchange))
		if err != nil {
			return usageError{fmt.Errorf("--workloads: %w", err)}
		}
		if of == string(backup.Exchange) {
			source = slices.Concat(sourcePermissions, mailPermissions)
		}
		protected += fmt.Sprintf(", %q", of)
	}
	if protected = strings.TrimPrefix(protected, ", "); protected == strconv.Quote(string(backup.OneDrive)) {
		protected = "" // as a server does unless it is told otherwise
	}
	shell, err := oneOf(shell, "az", "powershell")
	if err != nil {
		return usageError{fmt.Errorf("--shell: %w", err)}
	}
	text := map[string]string{"az": setupAz, "powershell": setupPowerShell}[shell]
	body, err := setupBody()
	if err != nil {
		return err
	}
	return template.Must(template.New(shell).Parse(text)).Execute(w, map[string]any{
		"Name": name, "Body": body, "Graph": identity.GraphAppID, "Source": source, "Workloads": protected,
	})
}
