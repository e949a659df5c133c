package engine

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/minio/minio-go/v7"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// Each reason why a vault cannot be used has words of its own, which say what
// to check; none of them ends a restore that would go on once it is mended.
func TestWhyAVaultCannotBeUsed(t *testing.T) {
	said := map[string]bool{}
	for _, row := range []struct {
		err  error
		code backup.Code
		says string
	}{
		{vault.ErrPassword, backup.VaultUnavailable, "Check the vault's password"},
		{vault.ErrMissing, backup.VaultUnavailable, "Check that its volume is mounted"},
		{vault.ErrOther, backup.VaultUnavailable, "Check that the right volume is mounted"},
		{vault.ErrNewer, backup.VaultUnavailable, "Run the newer version"},
		{vault.ErrDamaged, backup.VaultDamaged, "bring back from a copy"},
		{vault.ErrStorage, backup.VaultUnavailable, "free space"},
		{vault.Failure(&fs.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}), backup.VaultUnavailable, "The vault's disk is full"},
		{vault.Failure(&fs.PathError{Op: "write", Path: "p", Err: syscall.EROFS}), backup.VaultUnavailable, "not mounted read-only"},
		{vault.Failure(minio.ErrorResponse{StatusCode: http.StatusInsufficientStorage}), backup.VaultUnavailable, "The vault's bucket is full"},
		{vault.Failure(&azcore.ResponseError{StatusCode: http.StatusForbidden}), backup.VaultUnavailable, "The vault's container refuses the server's key"},
	} {
		p, lasting := explain(backup.OneDrive, fmt.Errorf("%w: open: %w", vault.ErrStorage, row.err))
		if p.Code != row.code || !strings.Contains(p.Message, row.says) || said[p.Message] || lasting {
			t.Errorf("%v is told as %+v, lasting %v; want %s with %q", row.err, p, lasting, row.code, row.says)
		}
		said[p.Message] = true
	}
}

// Of a vault in a store nobody is told to look at folders and volumes.
func TestWhyAVaultInAStoreCannotBeUsed(t *testing.T) {
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "list" {
			fmt.Fprint(w, `<?xml version="1.0"?><EnumerationResults><Blobs></Blobs></EnumerationResults>`)
			return
		}
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer empty.Close()
	_, err := vault.Open(t.Context(), vault.Config{State: t.TempDir(), Password: "p", ID: strings.Repeat("ab", 32), Azure: &vault.Container{
		Account: "127", Domain: strings.TrimPrefix(empty.URL, "http://127."), Name: "backups", Prefix: "a/", Plain: true, Key: "a2V5"}})
	p, _ := explain(backup.OneDrive, err)
	if says := "Check that the configuration names the right container and prefix"; p.Code != backup.VaultUnavailable || !strings.Contains(p.Message, "There is no vault") || !strings.Contains(p.Message, says) {
		t.Errorf("%v is told as %+v", err, p)
	}
	for _, word := range []string{"volume", "folder"} {
		if strings.Contains(p.Message, word) {
			t.Errorf("%q speaks of a %s", p.Message, word)
		}
	}
}

// What is said of a site or a mailbox is not said of a drive.
func TestProblemsNameWhatTheyAreOf(t *testing.T) {
	for _, of := range []backup.Workload{backup.OneDrive, backup.SharePoint, backup.Exchange} {
		for _, err := range []error{errRootGone, drive.ErrEndless, errNoOwner, drive.ErrDenied, drive.ErrQuota, drive.ErrNotFound, errOtherOwner, drive.ErrUnavailable} {
			p, _ := explain(of, err)
			if !strings.Contains(p.Message, of.Thing()) || of != backup.OneDrive && strings.Contains(p.Message, "drive") {
				t.Errorf("%v of a %s is told as %q", err, of.Thing(), p.Message)
			}
		}
		if p := artifactProblem(of, backup.Problem{Code: backup.DriveNotFound}); !strings.Contains(p.Message, "no "+of.Thing()) {
			t.Errorf("a %s that is not there is told as %q", of.Thing(), p.Message)
		}
	}
}
