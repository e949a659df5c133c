package simtenant

import (
	"strings"
)

// mailRoutes are the calls to mailboxes.
func mailRoutes() []Route {
	const (
		list     = "select top skip count"
		delta    = "select top skiptoken deltatoken"
		extended = "select expand"
	)
	at := onMailbox
	return []Route{
		{"GET", "{user}/settings/exchange", "The id of a user's mailbox.", "The archive's id (beta).", "", readMailSettings, (*Service).getExchangeSettings},

		{"GET", "{mailbox}/folders", "The folders of a mailbox, those below folders too.", "Search folders.", list + " filter", readMailFolders, at((*Service).listMailboxFolders)},
		{"GET", "{mailbox}/folders/delta", "What changed among the folders since a token, or all of them.", "", delta, readMailFolders, at((*Service).mailboxFoldersDelta)},
		{"GET", "{mailbox}/folders/{folder}", "A folder, by its id or well-known name.", "", "select", readMailFolders, at((*Service).getMailboxFolder)},
		{"GET", "{mailbox}/folders/{folder}/childFolders", "The folders in a folder.", "", list + " filter", readMailFolders, at((*Service).listMailboxFolders)},
		{"GET", "{mailbox}/folders/{folder}/childFolders/delta", "What changed among the folders in a folder.", "", delta, readMailFolders, at((*Service).mailboxFoldersDelta)},
		{"GET", "{mailbox}/folders/{folder}/items", "The items in a folder.", "", list + " filter orderby expand", readMailItems, at((*Service).listMailboxItems)},
		{"GET", "{mailbox}/folders/{folder}/items/delta", "What changed among the items in a folder since a token, or all of them.", "", delta + " filter", readMailItems, at((*Service).mailboxItemsDelta)},
		{"GET", "{mailbox}/folders/{folder}/items/{message}", "An item.", "", extended, readMailItems, at((*Service).getMailboxItem)},
		{"DELETE", "{mailbox}/folders/{folder}/items/{message}", "Deletes an item: it goes to Deleted Items, from there to Recoverable Items, from there for good.", "", "", writeMailItems, at((*Service).deleteMailboxItem)},
		{"POST", "{mailbox}/folders", "Makes a folder at the top: a directory.", "Extended properties.", "", writeMailFolders, at((*Service).createMailboxFolder)},
		{"POST", "{mailbox}/folders/{folder}/childFolders", "Makes a folder in a folder.", "Extended properties.", "", writeMailFolders, at((*Service).createMailboxFolder)},
		{"PATCH", "{mailbox}/folders/{folder}", "Renames a folder that is not well-known.", "", "", writeMailFolders, at((*Service).patchMailboxFolder)},
		{"DELETE", "{mailbox}/folders/{folder}", "Deletes a folder that is not well-known: it goes to Deleted Items, from there for good.", "", "", writeMailFolders, at((*Service).deleteMailboxFolder)},
		{"POST", "{mailbox}/exportItems", "Exports up to 20 items, each as a stream or with an error of its own.", "Exchange's own format: the stream is a container of the file and its properties.", "", exportMailItems, (*Service).exportItems},
		{"POST", "{mailbox}/createImportSession", "An address, good for an hour, to which exported items are sent one by one: Mode create, or update with ItemId and ChangeKey.", "", "", importMailItems, at((*Service).createImportSession)},
	}
}

// routeAdmin serves what lies below /admin.
func (s *Service) routeAdmin(r *request, rest string) error {
	for _, want := range []string{"exchange", "mailboxes"} {
		var first string
		if first, rest = word(rest); first != want {
			return noRoute()
		}
	}
	id, rest, err := value(rest)
	if err != nil {
		return err
	}
	guid, tenant, ok := strings.Cut(strings.TrimPrefix(strings.ToLower(id), "mbx:"), "@")
	if here, known := s.mailboxes[guid]; ok && known && here.tenant == r.who.tenant && tenant == string(here.tenant.ID) {
		r.place = mailboxOf(here)
	}
	return s.dispatch(r, "{mailbox}", segments(rest))
}

// segments takes the keys in parentheses apart, as in folders('x')/items.
func segments(rest string) string {
	var out []string
	for rest != "" {
		var first string
		first, rest = take(rest)
		out = append(out, first)
	}
	return strings.Join(out, "/")
}
