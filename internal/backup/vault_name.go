package backup

import "strconv"

// A VaultName names one of a tenant's vaults. They are counted from 1: most tenants
// have no other. Where one has grown large, new drives go into the next.
type VaultName struct {
	Tenant TenantID
	Number int
}

// FirstVault names the vault that every tenant has.
func FirstVault(t TenantID) VaultName { return VaultName{t, 1} }

// String is what the vault's folder is called: the tenant's id, and from the second
// vault on a hyphen and its number.
func (n VaultName) String() string {
	if n.Number == 1 {
		return string(n.Tenant)
	}
	return string(n.Tenant) + "-" + strconv.Itoa(n.Number)
}
