package simtenant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Items of a mailbox have no names on the wire. Profiles that hit single ones go by
// the names of the files that they are, of what is imported by its subject, and of
// folders by their names.

// exports changes what an export's answer holds, entry by entry.
func exports(change func(x *exchange, entry object) []object) spoiler {
	return on(func(x *exchange) bool {
		x.pass()
		answer := decode(x.body)
		list, _ := answer["value"].([]any)
		if x.status != http.StatusOK || list == nil {
			return false
		}
		out, hit := []any{}, false
		for _, v := range list {
			entry, _ := v.(object)
			was, _ := json.Marshal(entry)
			told := change(x, entry)
			for _, one := range told {
				out = append(out, one)
			}
			if len(told) == 1 {
				is, _ := json.Marshal(told[0])
				hit = hit || !bytes.Equal(was, is)
			} else {
				hit = true
			}
		}
		if !hit {
			return false
		}
		answer["value"] = out
		x.reply(http.StatusOK, answer)
		return true
	}, anExport)
}

// exportsOf is exports for the items that are to be hit, in place.
func exportsOf(change func(x *exchange, entry object)) spoiler {
	return exports(func(x *exchange, entry object) []object {
		if x.exportsVictim(entry["itemId"]) {
			change(x, entry)
		}
		return []object{entry}
	})
}

// exportsVictim reports whether an export's item is to be hit.
func (x *exchange) exportsVictim(id any) bool {
	text, _ := id.(string)
	x.h.mu.Lock()
	name := x.h.names[text]
	x.h.mu.Unlock()
	return name != "" && x.h.isVictim(name)
}

// exportFails has entries be an error in place of their content.
func exportFails(code string) func(*exchange, object) {
	return func(_ *exchange, entry object) {
		entry["changeKey"], entry["data"] = nil, nil
		entry["error"] = object{"code": code, "message": "It is so by request."}
	}
}

// perItem changes each item's entry the first n times only.
func perItem(n int, change func(*exchange, object)) func(*exchange, object) {
	return func(x *exchange, entry object) {
		if id, _ := entry["itemId"].(string); x.count("item", id) <= n {
			change(x, entry)
		}
	}
}

// data changes the bytes of entries.
func data(change func(b []byte) []byte) func(*exchange, object) {
	return func(_ *exchange, entry object) {
		text, _ := entry["data"].(string)
		if b, err := base64.StdEncoding.DecodeString(text); err == nil && text != "" {
			entry["data"] = base64.StdEncoding.EncodeToString(change(b))
		}
	}
}

// withVictims spoils only exports that name an item which is to be hit.
func withVictims(do spoiler) spoiler {
	return on(func(x *exchange) bool {
		return slices.ContainsFunc(x.ids, func(id string) bool { return x.exportsVictim(id) }) && do(x)
	}, anExport)
}

// ofMore spoils only exports of more than n items.
func ofMore(n int, do spoiler) spoiler {
	return on(func(x *exchange) bool { return len(x.ids) > n && do(x) }, anExport)
}

// imports spoils only imports of what is to be hit: an item's replacement by the
// name of its file, what is new by its subject.
func imports(do spoiler) spoiler {
	return on(func(x *exchange) bool {
		var in struct{ ItemID, Data string }
		json.Unmarshal(x.read(), &in)
		x.h.mu.Lock()
		x.name = x.h.names[in.ItemID]
		x.h.mu.Unlock()
		if b, err := base64.StdEncoding.DecodeString(in.Data); err == nil && in.ItemID == "" {
			if h, file, ok := readStream(b); ok {
				x.name = readHead(file[:min(len(file), headSize)], h.Class).subject
			}
		}
		return x.name != "" && x.h.isVictim(x.name) && do(x)
	}, anImport)
}

// mailTokens spoils only pages that are asked for with a token.
func mailTokens(do spoiler, asks ...ask) spoiler {
	return on(func(x *exchange) bool {
		q := x.r.URL.Query()
		return (q.Has("$deltatoken") || q.Has("$skiptoken")) && do(x)
	}, asks...)
}

// removals changes the tombstones of a page.
func removals(change func(tombstone object) []any, asks ...ask) spoiler {
	return pages(func(_ *exchange, page object) bool {
		value, _ := page["value"].([]any)
		out, hit := []any{}, false
		for _, v := range value {
			if item, _ := v.(object); item["@removed"] != nil {
				out, hit = append(out, change(item)...), true
			} else {
				out = append(out, v)
			}
		}
		page["value"] = out
		return hit
	}, asks...)
}

// whole has no page be followed by another.
func whole(x *exchange, page object) bool {
	link, ok := page["@odata.nextLink"].(string)
	if ok {
		delete(page, "@odata.nextLink")
		page["@odata.deltaLink"] = link
	}
	return ok
}

// MailProfiles returns the profiles of mailboxes, those of reading first.
//
// What they imitate is Microsoft's pages on Outlook's limits and errors and on the
// import and export of mailbox items, and what alcionai/corso had to survive.
func MailProfiles() []Profile {
	var list []Profile
	restoring := false
	add := func(name, imitates string, spoil spoiler) {
		list = append(list, Profile{Name: name, Imitates: imitates, Restoring: restoring, Mail: true, spoil: spoil})
	}
	folderPages := []ask{aMailFolders, aMailFolderDelta}
	tooMany := refused(429, "MailboxConcurrency", "Retry-After", "1")
	busy := refused(429, "ApplicationThrottled", "Retry-After", "1")

	// What may be asked of a mailbox.
	add("mailbox over its concurrency now and then", "Other clients of the application that are in the mailbox: every third call is MailboxConcurrency.", on(func(x *exchange) bool {
		return x.count("call")%3 == 0 && tooMany(x)
	}, anyMail...))
	add("mailbox over its concurrency for good", "The same, and they stay.", on(refused(429, "MailboxConcurrency", "Retry-After", "10"), anyMail...))
	add("exports over the mailbox's concurrency for a moment", "The limit of four requests at a time.", times(3, on(tooMany, anExport)))
	add("mailbox 429 without Retry-After", "A throttle that does not say for how long.", times(2, on(refused(429, "ApplicationThrottled"), anyMail...)))
	add("mailbox that wants to be left alone for long", "10,000 requests in ten minutes, used up by others.", on(refused(429, "ApplicationThrottled", "Retry-After", longPause), anyMail...))
	add("mailbox 503 for a moment", "ErrorMailboxStoreUnavailable: a database that changes its server.", times(1, on(refused(503, "ErrorMailboxStoreUnavailable"), anyMail...)))
	add("mailbox 503 without a body", "A front that finds no server for the mailbox.", times(1, on(func(x *exchange) bool {
		refused(503, "")(x)
		x.body = nil
		return true
	}, anyMail...)))
	add("mailbox 404 without a body", "The same, as it is also said.", times(1, on(func(x *exchange) bool {
		refused(404, "")(x)
		x.body = nil
		return true
	}, anyMail...)))
	add("mailbox that is being moved", "A mailbox on its way to another server.", on(refused(503, "ErrorMailboxMoveInProgress", "Retry-After", "300"), anyMail...))
	add("mailbox 401 in mid-run", "A token that is revoked.", after(5, once(on(refused(401, "InvalidAuthenticationToken"), anyMail...))))
	add("mailbox closed in mid-run", "An access policy that an administrator changes.", after(5, on(refused(403, "ErrorAccessDenied"), anyMail...)))
	add("mailbox gone in mid-run", "A licence that is taken away.", after(5, on(refused(404, "MailboxNotEnabledForRESTAPI"), anyMail...)))
	add("user without a mailbox", "A user without a licence, or with a mailbox on-premises.", on(refused(404, "MailboxNotEnabledForRESTAPI"), aMailbox))
	add("mailbox that is not named", "An answer that lacks what it is for.", on(func(x *exchange) bool {
		x.reply(http.StatusOK, object{"@odata.context": "…"})
		return true
	}, aMailbox))

	// Exports.
	add("corrupt items", "Items whose conversion fails for good, each by an error of its own.", exportsOf(exportFails("ErrorCorruptData")))
	add("corrupt items once", "The same, once.", exportsOf(perItem(1, exportFails("ErrorCorruptData"))))
	add("exports that fail whole for a corrupt item", "An item that breaks whoever reads it: 500 for all twenty.", withVictims(refused(500, "ErrorInternalServerError")))
	add("listed items that are not found", "An index that knows what its store does not.", exportsOf(exportFails("ErrorItemNotFound")))
	add("listed items that are not found once", "The same, for a moment.", exportsOf(perItem(1, exportFails("ErrorItemNotFound"))))
	add("items with a code that nobody knows", "An error that no page names.", exportsOf(exportFails("ErrorViewGenerationFailed")))
	add("exports without content and error", "An answer that lacks what it is for.", exportsOf(func(_ *exchange, entry object) { entry["data"] = nil }))
	add("exports of nothing", "A stream that is empty.", exportsOf(func(_ *exchange, entry object) { entry["data"] = "" }))
	add("exports that are no base64", "A gateway that changes what passes.", exportsOf(func(_ *exchange, entry object) { entry["data"] = "%%%" }))
	add("half a stream", "A gateway that stores what it got of a broken transfer.", exportsOf(data(func(b []byte) []byte { return b[:len(b)/2] })))
	add("half a stream once", "The same, once.", exportsOf(perItem(1, data(func(b []byte) []byte { return b[:len(b)/2] }))))
	add("exports that leave items out", "An answer with fewer entries than were asked for.", exports(func(x *exchange, entry object) []object {
		if x.exportsVictim(entry["itemId"]) {
			return nil
		}
		return []object{entry}
	}))
	add("exports that leave items out once", "The same, once.", exports(func(x *exchange, entry object) []object {
		if id, _ := entry["itemId"].(string); x.exportsVictim(id) && x.count("item", id) == 1 {
			return nil
		}
		return []object{entry}
	}))
	add("exports of items that nobody asked for", "A cache that mixes its answers up.", exportsOf(func(_ *exchange, entry object) {
		id, _ := entry["itemId"].(string)
		entry["itemId"] = id[:len(id)/2] + "AAAA" + id[len(id)/2:]
	}))
	add("exports with each item twice", "The same entry two times.", exports(func(_ *exchange, entry object) []object { return []object{entry, entry} }))
	add("exports in another order", "Answers are paired by their ids.", on(func(x *exchange) bool {
		x.pass()
		answer := decode(x.body)
		value, _ := answer["value"].([]any)
		if x.status != http.StatusOK || len(value) < 2 {
			return false
		}
		slices.Reverse(value)
		x.reply(http.StatusOK, answer)
		return true
	}, anExport))
	add("exports without change keys", "An answer that says less than it might.", exportsOf(func(_ *exchange, entry object) { delete(entry, "changeKey") }))
	add("exports of newer items", "An item that was written between the delta and the export.", exportsOf(func(_ *exchange, entry object) {
		if entry["changeKey"] != nil {
			entry["changeKey"] = "CQAAABYAAAB/bmV3ZXI="
		}
	}))
	add("exports of many 504", "More bytes than a front waits for.", ofMore(1, refused(504, "UnknownError")))
	add("exports of many 413", "The same, as another front says it.", ofMore(4, refused(413, "ErrorMessageSizeExceeded")))
	add("exports cut once", "A connection that breaks.", times(1, on(broken, anExport)))
	add("exports cut always", "A connection that always breaks.", on(broken, anExport))
	add("exports cut for an item", "The same, whenever one item is among them.", withVictims(broken))
	add("exports that are login pages", "A proxy whose session ended.", on(answers("text/html", loginPage), anExport))
	add("exports that are error documents", "An error with status 200.", on(answers("application/json", errorDocument), anExport))
	add("exports of an empty list", "An answer that lacks all that was asked for.", on(answers("application/json", `{"value":[]}`), anExport))
	add("exports denied", "An application that may read items and not export them.", on(refused(403, "ErrorAccessDenied"), anExport))

	// The items of a folder.
	for _, lost := range []struct {
		name, imitates string
		do             spoiler
	}{
		{"410 SyncStateNotFound", "A folder's token that is too old.", refused(410, "SyncStateNotFound")},
		{"400 SyncStateInvalid", "The same, as it is also said.", refused(400, "SyncStateInvalid")},
		{"410 ResyncRequired", "The same, as it is also said.", refused(410, "ResyncRequired")},
		{"400 in words", "The same, said in the message only.", func(x *exchange) bool {
			x.reply(400, object{"error": object{"code": "ErrorInvalidUrlQuery", "message": "Parameter 'DeltaToken' not supported for this request."}})
			return true
		}},
	} {
		add("folder tokens "+lost.name, lost.imitates, mailTokens(victims(times(1, lost.do)), aMailDelta))
		add("mailbox tokens "+lost.name, strings.Replace(lost.imitates, "A folder's token", "All tokens", 1), mailTokens(times(1, lost.do), aMailDelta, aMailFolderDelta))
	}
	add("each new folder token refused", "A token that is worth nothing, of whole lists.", on(func(x *exchange) bool {
		return x.r.URL.Query().Has("$deltatoken") && refused(410, "SyncStateNotFound")(x)
	}, aMailDelta))
	add("folder enumerations refused on their second page", "A server that changes in mid-enumeration.", once(on(func(x *exchange) bool {
		return x.r.URL.Query().Has("$skiptoken") && refused(410, "SyncStateNotFound")(x)
	}, aMailDelta)))
	add("a full mailbox", "A mailbox over its quota has no deltas of items.", on(refused(507, "ErrorQuotaExceeded"), aMailDelta))
	add("folders whose deltas fail", "A folder that is damaged.", victims(on(refused(500, "ErrorInternalServerError"), aMailDelta)))
	add("folders whose deltas are not found", "A folder that is listed and not there.", victims(on(refused(404, "ErrorSyncFolderNotFound"), aMailDelta, aMailList)))
	add("folder deltas 500 for a moment", "A server that restarts.", times(1, on(refused(500, "ErrorInternalServerError"), aMailDelta)))
	add("folder deltas cut once", "A connection that breaks.", times(1, on(broken, aMailDelta)))
	add("folder deltas that are login pages", "A proxy whose session ended.", on(answers("text/html", loginPage), aMailDelta))
	add("folder deltas that are error documents", "An error with status 200.", on(answers("application/json", errorDocument), aMailDelta))
	add("folder deltas of an empty object", "An answer that lacks what it is for.", on(answers("application/json", "{}"), aMailDelta))
	add("ids that change with every move", "A source that knows no immutable ids: a move is a deletion and an addition.", on(func(x *exchange) bool {
		prefer := x.r.Header.Values("Prefer")
		if !strings.Contains(strings.Join(prefer, ","), "IdType") {
			return false
		}
		x.r.Header.Del("Prefer")
		for _, line := range prefer {
			for part := range strings.SplitSeq(line, ",") {
				if !strings.Contains(part, "IdType") {
					x.r.Header.Add("Prefer", strings.TrimSpace(part))
				}
			}
		}
		return true
	}, anyMail...))
	add("moves told as deletions", "A tombstone that does not say why.", removals(func(tombstone object) []any {
		tombstone["@removed"] = object{"reason": "deleted"}
		return []any{tombstone}
	}, aMailDelta))
	add("deletions that are not told", "A delta that forgets what left the folder.", removals(func(object) []any { return nil }, aMailDelta))
	add("deletions of what lives", "Tombstones of events outside a window, and of nothing.", pages(func(x *exchange, page object) bool {
		value, _ := page["value"].([]any)
		hit := false
		for _, v := range value {
			if item, _ := v.(object); isVictim(x, item) {
				value, hit = append(value, removed(item["id"].(string), false)), true
			}
		}
		page["value"] = value
		return hit
	}, aMailDelta))
	add("additions that are not told", "A delta that leaves items out.", items(hidden, aMailDelta))
	add("additions that are told late", "The same, for a moment.", items(func(x *exchange, item object) []object {
		if id, _ := item["id"].(string); isVictim(x, item) && x.count("late", id) == 1 {
			return nil
		}
		return []object{item}
	}, aMailDelta))
	add("changes that are not told", "A delta that tells items as they were.", items(yesterday, aMailDelta))
	add("items told twice", "An item on two pages, at first as it was.", items(func(x *exchange, item object) []object {
		if !isVictim(x, item) {
			return []object{item}
		}
		old := clone(item)
		old["changeKey"], old["@odata.etag"] = "CQAAABYAAABvbGRlcg==", `W/"CQAAABYAAABvbGRlcg=="`
		return []object{old, item}
	}, aMailDelta))
	add("items that are removed and there", "A tombstone and then the item, on one page.", items(func(x *exchange, item object) []object {
		if !isVictim(x, item) {
			return []object{item}
		}
		return []object{removed(item["id"].(string), true), item}
	}, aMailDelta))
	for _, lack := range []struct{ name, member string }{{"ids", "id"}, {"change keys", "changeKey"}, {"classes", "type"}, {"sizes", "size"}, {"times", "lastModifiedDateTime"}} {
		add("mail items without "+lack.name, "An answer that lacks what it is for.", items(each(without(lack.member)), aMailDelta, aMailList, aMailItem))
	}
	add("mail items whose ids are numbers", "Broken serialisation.", items(each(with("id", 7)), aMailDelta, aMailList, aMailItem))
	add("mail items of one id", "Two items that a store takes for one.", pages(func(x *exchange, page object) bool {
		value, _ := page["value"].([]any)
		first := ""
		hit := false
		for _, v := range value {
			if item, _ := v.(object); isVictim(x, item) {
				if first == "" {
					first, _ = item["id"].(string)
				} else {
					item["id"], hit = first, true
				}
			}
		}
		return hit
	}, aMailDelta))
	add("mail items of no size", "Sizes that were not counted.", items(each(with("size", 0)), aMailDelta, aMailList, aMailItem))
	add("mail items of impossible size", "Counters that overflowed.", items(each(with("size", -1)), aMailDelta, aMailList, aMailItem))
	add("mail items of the year 1601", "Times that were never set.", items(each(func(item object) {
		item["createdDateTime"], item["lastModifiedDateTime"] = "1601-01-01T00:00:00Z", "1601-01-01T00:00:00Z"
	}), aMailDelta, aMailList, aMailItem))
	add("mail items of no known class", "An application's own items.", items(each(with("type", "IPM.Contoso.Approval")), aMailDelta, aMailList, aMailItem))
	add("mail pages that are missing", "A page without its items.", on(func(x *exchange) bool {
		return x.count("page")%2 == 0 && pages(func(_ *exchange, page object) bool {
			value, _ := page["value"].([]any)
			page["value"] = []any{}
			return len(value) > 0
		}, aMailDelta)(x)
	}, aMailDelta))
	add("mail pages that are repeated", "A page that comes twice, once by another link.", on(func(x *exchange) bool {
		if x.count("page", x.r.URL.RequestURI()) > 1 {
			return false
		}
		return pages(func(x *exchange, page object) bool {
			_, more := page["@odata.nextLink"].(string)
			if more {
				page["@odata.nextLink"] = originOf(x.r) + x.r.URL.RequestURI()
			}
			return more
		}, aMailDelta)(x)
	}, aMailDelta))
	add("mail pages without end", "A link that leads back to its page.", pages(func(x *exchange, page object) bool {
		delete(page, "@odata.deltaLink")
		page["@odata.nextLink"] = linked(x, "again", "1")
		return true
	}, aMailDelta))
	add("mail pages without links", "An enumeration that ends without saying so.", pages(func(_ *exchange, page object) bool {
		delete(page, "@odata.deltaLink")
		delete(page, "@odata.nextLink")
		return true
	}, aMailDelta))
	add("a folder's delta that ends after its first page", "An enumeration that broke off and does not say so.", pages(whole, aMailDelta))
	add("a folder's deltaLink of another folder", "A cache that mixes its answers up.", onLink(func(x *exchange, link string) string {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for path, other := range x.h.links {
			if path != x.r.URL.Path && strings.Contains(path, "/items/delta") {
				return other
			}
		}
		return link
	}, aMailDelta))
	add("a folder's deltaLink that stays", "A token that does not move on.", onLink(func(x *exchange, link string) string {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		if old := x.h.links[x.r.URL.Path]; old != "" {
			return old
		}
		return link
	}, aMailDelta))
	add("mail links of another host", "An answer that means harm.", pages(func(_ *exchange, page object) bool {
		for _, name := range []string{"@odata.nextLink", "@odata.deltaLink"} {
			if page[name] != nil {
				page[name] = "https://graph.example.org/v1.0/steal"
			}
		}
		return true
	}, aMailDelta, aMailFolderDelta))

	// Folders.
	add("mail folders that are not told", "A delta that leaves folders out.", items(hidden, folderPages...))
	add("mail folders without ids", "An answer that lacks what it is for.", items(each(without("id")), folderPages...))
	add("mail folders without names", "The same.", items(each(without("displayName")), folderPages...))
	add("mail folders without classes", "The same.", items(each(without("type")), folderPages...))
	add("mail folders without parents", "The same.", items(each(without("parentFolderId")), folderPages...))
	add("mail folders without counts", "The same.", items(every(without("totalItemCount", "childFolderCount")), aMailFolders, aMailFolderDelta, aMailFolder))
	add("mail folders without well-known names", "As it was until August 2026.", items(every(without("wellKnownName")), aMailFolders, aMailFolderDelta, aMailFolder))
	add("mail folders of one name", "Two folders of one name, as a migration makes them.", items(each(with("displayName", "Projects")), aMailFolders, aMailFolderDelta, aMailFolder))
	add("mail folders whose names are paths", "Names with slashes, which Exchange allows.", items(each(func(item object) {
		name, _ := item["displayName"].(string)
		item["displayName"] = "../" + name + "/a\\b"
	}), aMailFolders, aMailFolderDelta, aMailFolder))
	add("a mail folder that is its own parent", "A damaged hierarchy.", items(each(func(item object) { item["parentFolderId"] = item["id"] }), folderPages...))
	add("mail folders below one that is never told", "The same.", items(each(func(item object) {
		id, _ := item["id"].(string)
		item["parentFolderId"] = strings.Replace(id, "A", "B", 1)
	}), folderPages...))
	add("mail folders that are counted wrong", "Counts that lag behind.", items(each(with("totalItemCount", 100_000)), aMailFolders, aMailFolderDelta, aMailFolder))
	add("mail folders in which nothing is counted", "The same, the other way.", items(each(with("totalItemCount", 0)), aMailFolders, aMailFolderDelta, aMailFolder))
	add("search folders among the folders", "Folders whose items lie elsewhere, as the list has them.", pages(func(_ *exchange, page object) bool {
		value, _ := page["value"].([]any)
		if page["@odata.nextLink"] != nil {
			return false
		}
		page["value"] = append(value, object{
			"@odata.type": "#microsoft.graph.mailSearchFolder", "id": "AQMkAHNlYXJjaGZvbGRlcg==", "displayName": "Unread Mail", "parentFolderId": "AQMkAHNlYXJjaGVz",
			"type": "IPF.Note", "childFolderCount": 0, "totalItemCount": 3, "wellKnownName": nil,
		})
		return true
	}, folderPages...))
	add("folders of the mailbox 500 for a moment", "A server that restarts.", times(1, on(refused(500, "ErrorInternalServerError"), folderPages...)))
	add("folders of the mailbox that are login pages", "A proxy whose session ended.", on(answers("text/html", loginPage), folderPages...))
	add("a delta of the mailbox's folders that ends after its first page", "An enumeration that broke off and does not say so.", pages(whole, aMailFolderDelta))
	add("mail folders told as deleted that live", "A delta that tells too much.", items(func(x *exchange, item object) []object {
		if isVictim(x, item) {
			return []object{removed(item["id"].(string), false)}
		}
		return []object{item}
	}, aMailFolderDelta))
	add("mail items that cannot be looked at", "A corrupt item: 500 for ever.", victims(on(refused(500, "ErrorCorruptData"), aMailItem, aMIME)))

	// Writing.
	restoring = true
	add("imports whose answers are lost once", "A connection that breaks after the work was done.", imports(times(1, lost)))
	add("imports whose answers are lost", "The same, always.", imports(lost))
	add("imports cut once", "A connection that breaks in the answer.", times(1, on(broken, anImport)))
	add("imports 504 with nothing done once", "A front that does not wait.", imports(times(1, refused(504, "UnknownError"))))
	add("imports 503 for a moment", "ErrorMailboxStoreUnavailable.", times(2, on(refused(503, "ErrorMailboxStoreUnavailable"), anImport)))
	add("imports over the upload limit now and then", "150 MB in five minutes.", on(func(x *exchange) bool { return x.count("import")%3 == 0 && busy(x) }, anImport))
	add("imports that want to be left alone for long", "The same, used up by others.", on(refused(429, "ApplicationThrottled", "Retry-After", longPause), anImport))
	add("imports into a full mailbox", "A mailbox over its quota.", on(refused(507, "ErrorQuotaExceeded"), anImport))
	add("items that no mailbox takes", "A stream that the store refuses.", imports(refused(400, "ErrorCorruptData")))
	add("items that are too large to import", "A limit that others set.", imports(refused(413, "ErrorMessageSizeExceeded")))
	add("items that change while they are replaced once", "Somebody who reads the message just now.", imports(times(1, refused(412, "ErrorIrresolvableConflict"))))
	add("items that change while they are replaced", "The same, again and again.", imports(refused(412, "ErrorIrresolvableConflict")))
	add("imports that do not say what they made", "An answer that lacks what it is for.", imports(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusOK {
			return false
		}
		x.reply(http.StatusOK, object{})
		return true
	}))
	add("imports answered by login pages", "A proxy whose session ended.", imports(answers("text/html", loginPage)))
	add("import addresses that end at once", "A session that is shorter than it says.", on(func(x *exchange) bool {
		return x.count("import")%2 == 0 && refused(401, "InvalidAuthenticationToken")(x)
	}, anImport))
	add("import addresses that never open", "A session that is worth nothing.", on(refused(403, "ErrorAccessDenied"), anImport))
	add("import sessions 503 for a moment", "A server that restarts.", times(1, on(refused(503, "ErrorMailboxStoreUnavailable"), anImportSession)))
	add("import sessions without an address", "An answer that lacks what it is for.", on(func(x *exchange) bool {
		x.reply(http.StatusOK, object{"expirationDateTime": "2099-01-01T00:00:00Z"})
		return true
	}, anImportSession))
	add("import sessions on another host without TLS", "An answer that means harm.", on(func(x *exchange) bool {
		x.reply(http.StatusOK, object{"importUrl": "http://graph.example.org/steal", "expirationDateTime": "2099-01-01T00:00:00Z"})
		return true
	}, anImportSession))
	add("import sessions denied", "An application that may export and not import.", on(refused(403, "ErrorAccessDenied"), anImportSession))
	add("mail folders made and not told once", "A connection that breaks after the work was done.", times(1, on(lost, aMailFolderMade)))
	add("mail folders 503 for a moment", "A server that restarts.", times(1, on(refused(503, "ErrorMailboxStoreUnavailable"), aMailFolderMade)))
	add("mail folders that cannot be made", "A policy on folders.", on(refused(403, "ErrorAccessDenied"), aMailFolderMade))
	add("mail folders that are said to be there", "A folder that an earlier try made, or somebody else.", once(on(func(x *exchange) bool {
		x.pass() // it is made, and there when it is looked for
		return x.status < 300 && refused(409, "ErrorFolderExists")(x)
	}, aMailFolderMade)))
	add("mail deletions whose answers are lost once", "A connection that breaks after the work was done.", times(1, on(lost, aMailDelete)))
	add("mail deletions that fail", "A hold on the item.", on(refused(403, "ErrorCannotDeleteObject"), aMailDelete))
	return list
}

// broken has the connection break in the middle of the answer.
func broken(x *exchange) bool {
	x.pass()
	x.cut = x.status < 300 && len(x.body) > 0
	return x.cut
}
