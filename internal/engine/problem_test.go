package engine

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/backup"
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
	} {
		p, lasting := explain(fmt.Errorf("%w: open: %w", vault.ErrStorage, row.err))
		if p.Code != row.code || !strings.Contains(p.Message, row.says) || said[p.Message] || lasting {
			t.Errorf("%v is told as %+v, lasting %v; want %s with %q", row.err, p, lasting, row.code, row.says)
		}
		said[p.Message] = true
	}
}
