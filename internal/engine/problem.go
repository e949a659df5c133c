package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// explain says in words for people why a unit of a workload could not be backed up or
// restored, and whether it will stay so until somebody does something.
func explain(of backup.Workload, err error) (p backup.Problem, lasting bool) {
	of = cmp.Or(of, backup.OneDrive)
	thing := of.Thing()
	if told, ok := errors.AsType[*backup.Error](err); ok {
		return told.Problem, true
	}
	wrong, isWrong := errors.AsType[*wrongLibrary](err)
	switch {
	case errors.Is(err, errRootGone):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source says that the " + thing + "'s root folder is gone, though the " + thing + " is there. No restore point was made of that. " +
			"Earlier ones stay, and all of the " + thing + " is looked at again at the next backup."}, false
	case errors.Is(err, errDenial):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source denied items that are there, so that it could not be told what was deleted. No restore point was made of that. " +
			"Earlier ones stay, and it is tried again by itself."}, false
	case errors.Is(err, drive.ErrEndless):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source's list of what is in the " + thing + " does not come to an end. Earlier restore points stay, and it is tried again by itself."}, false
	case errors.Is(err, errNoOwner):
		return backup.Problem{Code: backup.ProtectionUnitNotFound, Message: "The directory has no user with this id, so there is no " + thing + " to back up. " +
			"Remove the unit from its policy, or restore the user in the directory."}, true
	case errors.Is(err, errNoSite):
		return backup.Problem{Code: backup.ProtectionUnitNotFound, Message: "The source has no site with this id, so there is nothing to back up. Earlier restore points stay. " +
			"Remove the unit from its policy, or restore the site."}, true
	case errors.Is(err, errSite) && errors.Is(err, drive.ErrLocked):
		return backup.Problem{Code: backup.ResourceLocked, Message: "The site is locked or archived, so that it cannot be read. Earlier restore points stay. It is tried again by itself."}, true
	case errors.Is(err, errSite) && errors.Is(err, drive.ErrDenied):
		return backup.Problem{Code: backup.AccessDenied, Message: "The source refused access to the site. Earlier restore points stay. " + mayReadSite(err)}, true
	case errors.Is(err, errNoLibrary):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source lists no library of the site, which every site has. No restore point was made of that. Earlier ones stay, and it is tried again by itself."}, false
	case errors.Is(err, errNoOther):
		return backup.Problem{Code: backup.DriveNotFound, Message: "The tenant has no drive of the user, or no such site, to restore into. Check the user's id or address, and license, or the site's address."}, true
	case errors.Is(err, errNoTarget):
		return backup.Problem{Code: backup.DriveNotFound, Message: "The tenant has no mailbox of the user to restore into. Check the user's id or address, and license."}, true
	case errors.Is(err, drive.ErrNoMailbox):
		return backup.Problem{Code: backup.DriveNotFound, Message: "The owner has no mailbox in Exchange Online. It is looked for again at each backup; " +
			"check the owner's license, and that the mailbox is not on a server of your own."}, true
	case errors.Is(err, errMailbox) && errors.Is(err, drive.ErrDenied):
		return backup.Problem{Code: backup.AccessDenied, Message: "The source refused access to the mailbox. " +
			"Check that the application has " + permissions[backup.Exchange] + " with an administrator's consent, and that no access policy keeps it from this mailbox."}, true
	case errors.Is(err, drive.ErrNoDrive):
		return backup.Problem{Code: backup.DriveNotFound, Message: "The owner has no OneDrive. It is looked for again at each backup; " +
			"have the owner open OneDrive once, or check the owner's license."}, true
	case errors.Is(err, drive.ErrDenied):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source refused access to the " + thing + ". " +
			"Check that the application has " + permissions[of] + " with an administrator's consent, and that the " + thing + " is not locked."}, true
	case errors.Is(err, drive.ErrPaused):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The source asks to be left alone for a while. The work goes on by itself when the pause is over."}, false
	case isVault(err):
		return VaultProblem(err), false
	case errors.Is(err, drive.ErrQuota):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The " + thing + " is full. Free some space in it, or raise its quota, and restore again."}, true
	case errors.Is(err, drive.ErrNotFound):
		return backup.Problem{Code: backup.DriveNotFound, Message: "The " + thing + " vanished while it was being read. It is looked for again at the next backup."}, false
	case errors.Is(err, errOtherOwner):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "Asked for the owner's " + thing + ", the source answered with that of somebody else, which was not touched. Earlier restore points stay, and it is tried again by itself."}, false
	case isWrong:
		return backup.Problem{Code: backup.DriveUnavailable, Message: fmt.Sprintf("Asked for the new library %q that is restored into, the source answered with another drive, which was not touched. "+
			"It is tried again by itself.", wrong.name)}, false
	case errors.Is(err, spill.ErrDisk):
		return backup.Problem{Code: backup.GeneralException, Message: "The server's own disk has no room for what does not fit into its memory, or fails. Earlier restore points stay, and it is tried again by itself."}, false
	case isSource(err), errors.Is(err, errTangled):
		return backup.Problem{Code: backup.DriveUnavailable, Message: "The " + thing + " could not be read to its end. Earlier restore points stay, and it is tried again by itself."}, false
	}
	return backup.Problem{Code: backup.GeneralException, Message: "The work failed for a reason that the server's log states. It is tried again by itself."}, false
}

// permissions are what the application needs at the source.
var permissions = map[backup.Workload]string{
	backup.OneDrive:   "the permission Files.ReadWrite.All",
	backup.SharePoint: "the permission Sites.ReadWrite.All",
	backup.Exchange:   "the permissions MailboxSettings.Read, MailboxFolder.ReadWrite.All, MailboxItem.Read.All and MailboxItem.ImportExport.All, and Mail.Read for messages as MIME,",
}

// mayReadSite says what lets the application read a site that it was refused.
func mayReadSite(err error) string {
	said := "Check that the application has " + permissions[backup.SharePoint] + " with an administrator's consent"
	if site, ok := errors.AsType[*siteError](err); ok {
		return said + "; or, where it has Sites.Selected, grant it the site: " + site.grant + "."
	}
	return said + ", or was granted the site."
}

// isVault reports whether a failure is the vault's.
func isVault(err error) bool {
	for _, kind := range []error{vault.ErrPassword, vault.ErrMissing, vault.ErrOther, vault.ErrNewer, vault.ErrDamaged, vault.ErrStorage, vault.ErrNotFound} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// VaultProblem says in words for people why a vault cannot be used, as the units say
// it whose work needs the vault.
func VaultProblem(err error) backup.Problem {
	return vaultProblem(err, "the work goes on by itself then")
}

// vaultProblem says in words for people why a vault cannot be used, what to check,
// and what happens then.
func vaultProblem(err error, then string) backup.Problem {
	place, missing, other := "folder", "its volume is mounted and that the configuration names the right folder", "the right volume is mounted and that the configuration names the right folder"
	if store := vault.StoreOf(err); store != "" {
		place = "prefix in the " + store
		missing = "the configuration names the right " + store + " and prefix, and that nothing was deleted there"
		other = "the configuration names the right " + store + " and prefix, and that no vaults were swapped"
	}
	switch {
	case errors.Is(err, vault.ErrPassword):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault does not open with the password that the server has for it. Nothing in it was changed. " +
			"Check the vault's password in the server's configuration, and that the " + place + " is this tenant's; " + then + "."}
	case errors.Is(err, vault.ErrMissing):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "There is no vault where the tenant's should be, and none is made in its place. " +
			"Check that " + missing + "; " + then + "."}
	case errors.Is(err, vault.ErrOther):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault in the tenant's place is not the one that the catalog knows. Nothing in it was changed. " +
			"Check that " + other + "; " + then + "."}
	case errors.Is(err, vault.ErrNewer):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault was written by a newer Holdfast than this server. Nothing in it was changed. " +
			"Run the newer version; " + then + "."}
	case errors.Is(err, vault.ErrDamaged):
		return backup.Problem{Code: backup.VaultDamaged, Message: "The vault is damaged where it is needed for this; the server's log says where. What is whole can still be restored. " +
			"Check the vault's storage, and bring back from a copy what is missing there."}
	}
	switch remote := vault.StoreOf(err); {
	case errors.Is(err, vault.ErrStateFull):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The disk of the server's folder of state is full, without which the vault cannot be opened; the vault's own may have room. Earlier restore points stay. " +
			"Free some space where the setting state says, or enlarge it; " + then + "."}
	case errors.Is(err, vault.ErrFull) && remote == "":
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault's disk is full. Earlier restore points stay. " +
			"Free some space there, or enlarge it; " + then + "."}
	case errors.Is(err, vault.ErrFull):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault's " + remote + " is full. Earlier restore points stay. " +
			"Raise its quota, or have its store be enlarged; " + then + "."}
	case errors.Is(err, vault.ErrRefused) && remote == "":
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The server may not read or write in the vault's folder. Earlier restore points stay. " +
			"Check that its volume is not mounted read-only, and that the folder and what is in it belong to the server's user; " + then + "."}
	case errors.Is(err, vault.ErrRefused):
		return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault's " + remote + " refuses the server's key. Earlier restore points stay. " +
			"Check that the configuration has the right key, that it was not revoked, and that it may read, write, list and delete there; " + then + "."}
	}
	return backup.Problem{Code: backup.VaultUnavailable, Message: "The vault could not be read or written. Earlier restore points stay. " +
		"Check that its storage can be reached and has free space; " + then + "."}
}

// artifactProblem is a failure as artifacts have it: by the codes that are
// documented for them, with what exactly it was as a detail.
func artifactProblem(of backup.Workload, p backup.Problem) backup.Problem {
	whole := backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "The restore could not be finished; the first detail says why. " +
		"Restore again in another session once the cause is gone: only what differs is transferred."}
	switch p.Code {
	case backup.InvalidRestoreTime, backup.DuplicateArtifactRestore, backup.ArtifactCannotBeRestored:
		return p
	case backup.ProtectionUnitNotFound, backup.DriveNotFound:
		whole = backup.Problem{Code: backup.ArtifactNotFound, Message: "There is no " + of.Thing() + " to restore into; the first detail says why. " +
			"Restore again in another session once the owner has one."}
	case backup.GeneralException:
		whole = backup.Problem{Code: backup.UnknownError, Message: "The restore failed for a reason that the server's log states. " +
			"Restore again in another session: only what differs is transferred."}
	}
	whole.Details = append([]backup.Detail{{Code: p.Code, Message: p.Message, Target: p.Target}}, p.Details...)
	return whole
}

// isSource reports whether a failure is the source's.
func isSource(err error) bool {
	_, ok := errors.AsType[*drive.Error](err)
	return ok || errors.Is(err, drive.ErrUnavailable) || errors.Is(err, drive.ErrChanged) || errors.Is(err, drive.ErrContent)
}

// unreadable says why a file is not in a point.
func unreadable(item drive.Item, err error) (backup.Code, string) {
	if of, ok := errors.AsType[*permissionsError](err); ok {
		code, _ := unreadable(item, of.err)
		return code, "The source does not tell its permissions. What was held of them stays, and they are asked for again at the next backup."
	}
	switch {
	case item.Unreadable == drive.Malware, errors.Is(err, drive.ErrMalware):
		return backup.MalwareDetected, "The source found malware in the file and does not hand it out."
	case item.Unreadable == drive.Incomplete:
		return backup.ItemIncomplete, "The source lists the item without what it needs to be read. It is asked for again at the next backup."
	case item.Unreadable != "":
		return backup.NotSupported, "The item is neither a file nor a folder, and has no content that can be read."
	case errors.Is(err, drive.ErrDenied):
		return backup.AccessDenied, "The source refuses to hand out the file."
	case errors.Is(err, drive.ErrLocked):
		return backup.ResourceLocked, "The file is locked. It is tried again at the next backup."
	case errors.Is(err, drive.ErrChanged):
		return backup.ResourceModified, "The file changed each time it was read. The last whole content stays, and it is tried again at the next backup."
	case errors.Is(err, drive.ErrContent):
		return backup.ContentNotConfirmed, "What the source handed out is not the file's content: it has another length or hash, or is an error page. It is tried again."
	case errors.Is(err, drive.ErrNotFound):
		return backup.ContentNotFound, "The source lists the file and has no content for it. It is tried again at the next backup."
	}
	return backup.DriveUnavailable, "The file could not be read. It is tried again at the next backup."
}

// notWritten says why something that is restored is not as it was.
func notWritten(err error) (code backup.Code, why string) {
	code = backup.ArtifactCannotBeRestored
	switch {
	case isDamage(err):
		code, why = backup.VaultDamaged, "Its content is damaged in the vault. An earlier or later restore point may hold another."
	case errors.Is(err, drive.ErrLocked):
		code, why = backup.ResourceLocked, "It is open or checked out; close it and restore again."
	case errors.Is(err, drive.ErrDenied):
		code, why = backup.AccessDenied, "The source refused the change; a retention label may protect the item."
	case errors.Is(err, drive.ErrMalware):
		code, why = backup.MalwareDetected, "The source found malware in it."
	case errors.Is(err, drive.ErrUploading):
		code, why = backup.ResourceLocked, "An earlier upload of it is still open at the source, which ends by itself. Restore again in a while."
	case nameTaken(err):
		why = "Something else has its name."
	case errors.Is(err, drive.ErrExists):
		why = "The source says that it conflicts with another change. Restore again in a while."
	case errors.Is(err, drive.ErrChanged):
		code, why = backup.ResourceModified, "It was being changed all the time; restore again when nobody works on it."
	case errors.Is(err, drive.ErrNotFound):
		why = "It vanished while it was being restored."
	case errors.Is(err, drive.ErrQuota):
		why = "There is no room for it. Free some space, or raise the quota, and restore again."
	case errors.Is(err, drive.ErrUnavailable):
		why = "The source could not do it, though it was asked several times."
	default:
		why = "The source refused the change."
	}
	return code, why
}

// sourceSays is what the source itself says of a failure, "" if nothing.
func sourceSays(err error) string {
	if e, ok := errors.AsType[*drive.Error](err); ok {
		return e.Reason()
	}
	return ""
}

// notBackedUp is the error of a unit whose point does not hold all as it is, or
// nil.
func notBackedUp(unread []backup.Unread) *backup.Problem {
	p := backup.Lacks(unread)
	if p != nil {
		p.Message += " They are tried again by themselves."
	}
	return p
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return backup.Number(n) + " " + thing + "s"
}

// byAttempts returns the files that were tried least often first.
func byAttempts(pending []backup.Unread) []backup.Unread {
	return slices.SortedStableFunc(slices.Values(pending), func(a, b backup.Unread) int {
		return cmp.Compare(a.Attempts, b.Attempts)
	})
}
