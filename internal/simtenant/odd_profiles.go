package simtenant

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// oddProfiles are those of answers that no service should give: by whoever
// stands in between, by a service in trouble, or by one that means harm.
func oddProfiles() []Profile {
	var list []Profile
	add := func(name, imitates string, spoil spoiler) {
		list = append(list, Profile{Name: name, Imitates: imitates, spoil: spoil})
	}
	folders := func(change func(x *exchange, item object) []object, asks ...ask) spoiler {
		return items(func(x *exchange, item object) []object {
			if item["folder"] == nil || !isVictim(x, item) {
				return []object{item}
			}
			return change(x, item)
		}, asks...)
	}
	onlyFiles := func(change func(x *exchange, item object) []object, asks ...ask) spoiler {
		return items(func(x *exchange, item object) []object {
			if item["file"] == nil || !isVictim(x, item) {
				return []object{item}
			}
			return change(x, item)
		}, asks...)
	}

	// How contents are handed out.
	add("garbage that is called compressed", "A proxy that says that it compresses.", victims(on(encoded("gzip", nil), someBytes)))
	add("content shorter than it says", "A length that is not the body's.", victims(on(func(x *exchange) bool {
		x.pass()
		x.length = len(x.body) + 17
		return x.status < 300
	}, someBytes)))
	add("content longer than it says", "The same, the other way.", victims(on(func(x *exchange) bool {
		x.pass()
		x.length = max(len(x.body)-3, 0)
		return x.status < 300 && len(x.body) > 3
	}, someBytes)))
	add("a part for the whole, that is the whole", "206 for what was not asked for in parts.", victims(on(func(x *exchange) bool {
		x.pass()
		n := strconv.Itoa(len(x.body))
		x.status = http.StatusPartialContent
		x.header.Set("Content-Range", "bytes 0-"+strconv.Itoa(len(x.body)-1)+"/"+n)
		return len(x.body) > 0
	}, someBytes)))
	add("a part for the whole, of another length", "A Content-Range that is not of this content.", victims(on(func(x *exchange) bool {
		x.pass()
		x.status = http.StatusPartialContent
		x.body = x.body[:len(x.body)/2]
		x.header.Set("Content-Range", "bytes 0-"+strconv.Itoa(len(x.body)-1)+"/"+strconv.Itoa(len(x.body)))
		return len(x.body) > 0
	}, someBytes)))
	add("the whole for a part", "A cache that does not know ranges.", victims(on(func(x *exchange) bool {
		cut := x.r.Header.Get("Range") == ""
		x.r = x.r.Clone(x.r.Context())
		x.r.Header.Del("Range")
		x.pass()
		x.cut = cut && x.status < 300
		return true
	}, someBytes)))
	for _, status := range []int{400, 402, 405, 406, 409, 410, 412, 429, 451, 502, 504, 507, 509, 599} {
		add("content "+strconv.Itoa(status)+" for good", "A refusal that nobody documents.", victims(on(refused(status, "generalException", "Retry-After", "1"), aContent)))
	}
	add("content 304", "A cache that was not asked.", victims(on(func(x *exchange) bool {
		x.answered, x.status, x.header, x.body = true, http.StatusNotModified, http.Header{}, nil
		return true
	}, aContent)))
	add("content that redirects to no address", "Broken serialisation.", victims(on(redirect("http://%zz/"), aContent)))
	add("content that redirects to another scheme", "The same.", victims(on(redirect("file:///etc/hostname"), aContent)))
	add("content that redirects to the drive", "An answer about the file in its place.", victims(on(func(x *exchange) bool {
		return redirect(originOf(x.r) + strings.TrimSuffix(x.r.URL.Path, "/content"))(x)
	}, aContent)))

	// What is stated of a content.
	hash := func(change func(string) any) spoiler {
		return items(files(func(item object) {
			file, _ := item["file"].(object)
			hashes, _ := file["hashes"].(object)
			if was, ok := hashes["quickXorHash"].(string); ok {
				hashes["quickXorHash"] = change(was)
			}
		}))
	}
	add("hashes in upper case", "Somebody who takes base64 for hexadecimal.", hash(func(s string) any { return strings.ToUpper(s) }))
	add("hashes of another length", "A hash of another kind.", hash(func(s string) any { return "c2hvcnQ=" }))
	add("hashes that are null", "Files that were not hashed yet.", hash(func(s string) any { return nil }))
	size := func(change func(n string) any) spoiler {
		return items(files(func(item object) {
			if n, ok := item["size"].(json.Number); ok {
				item["size"] = change(n.String())
			}
		}))
	}
	add("sizes with an exponent", "The same.", size(func(n string) any { return json.Number(n + "e0") }))
	add("sizes beyond 63 bits", "Counters that overflowed.", size(func(string) any { return json.Number("99999999999999999999") }))
	add("sizes that are objects", "Broken serialisation.", size(func(string) any { return object{"bytes": 1} }))
	add("tags that never change, and no hashes", "A cTag that says nothing, of files that were not hashed.", items(files(func(item object) {
		item["cTag"], item["eTag"], item["file"] = `"c:{same},1"`, `"{same},1"`, object{}
	})))
	add("eTags that always change", "Metadata that is written all the time.", items(func(x *exchange, item object) []object {
		item["eTag"] = `"{changing},` + strconv.Itoa(x.count("etag")) + `"`
		return []object{item}
	}))
	add("no tags, no hashes", "A source that says little.", items(files(func(item object) {
		without("cTag", "eTag")(item)
		item["file"] = object{}
	})))

	// Replicas that lag behind, and pages that come again.
	add("item and content as they were yesterday", "A replica that lags behind, in all that it says.", both(
		victims(items(yesterday, anItem)), victims(contents(func(x *exchange, b []byte) []byte {
			x.h.mu.Lock()
			defer x.h.mu.Unlock()
			if old, ok := x.h.contents[x.id]; ok {
				return old
			}
			return b
		}))))
	add("deleted items that can still be looked at", "A replica that lags behind a deletion.", on(func(x *exchange) bool {
		x.pass()
		x.h.mu.Lock()
		old := x.h.items[x.id]
		x.h.mu.Unlock()
		if x.status != http.StatusNotFound || old == nil {
			return false
		}
		x.reply(http.StatusOK, old)
		return true
	}, anItem))
	add("items of yesterday after those of today", "A page that comes again, from a replica that lags behind.", items(func(x *exchange, item object) []object {
		return append([]object{item}, yesterday(x, item)...)
	}, aDelta))
	add("the first page again at the end", "The same, of whole pages.", pages(func(x *exchange, page object) bool {
		first := x.h.firstPage(driveOf(x.r))
		if first == nil || page["@odata.deltaLink"] == nil {
			return false
		}
		value, _ := page["value"].([]any)
		again, _ := first["value"].([]any)
		page["value"] = append(value, again...)
		return true
	}))
	add("the page of another drive", "A cache that mixes its answers up.", pages(func(x *exchange, page object) bool {
		_, other := otherDrive(x)
		first := x.h.firstPage(other)
		if first == nil {
			return false
		}
		value, _ := page["value"].([]any)
		again, _ := first["value"].([]any)
		page["value"] = append(value, again...)
		return true
	}))

	// Items that say of themselves what cannot be.
	add("file and folder together", "A kind that is not known yet.", items(each(func(item object) {
		item["file"], item["folder"] = object{}, object{"childCount": 0}
	})))
	add("tombstones before the living", "A tombstone that came out of order.", items(func(x *exchange, item object) []object {
		if !isVictim(x, item) {
			return []object{item}
		}
		return []object{{"id": item["id"], "deleted": object{}}, item}
	}, aDelta))
	add("an item in two folders", "A move that is told in part.", items(func(x *exchange, item object) []object {
		parent, _ := item["parentReference"].(object)
		if !isVictim(x, item) || parent == nil {
			return []object{item}
		}
		other := clone(item)
		x.h.mu.Lock()
		for id, it := range x.h.items {
			if name, _ := it["name"].(string); name == "photos" && id != item["id"] {
				other["parentReference"].(object)["id"] = id
			}
		}
		x.h.mu.Unlock()
		return []object{item, other}
	}, aDelta))
	add("a second root", "A facet in the wrong place.", folders(func(_ *exchange, item object) []object {
		item["root"] = object{}
		return []object{item}
	}))
	add("the root renamed", "A library that got a name.", items(every(func(item object) {
		if item["root"] != nil {
			item["name"] = "Dokumente/Files"
		}
	}), aDelta, aRoot, anItem))
	add("the root with a parent", "A library in a library.", items(every(func(item object) {
		if item["root"] != nil {
			item["parentReference"] = object{"id": item["id"], "driveId": "b!other"}
		}
	}), aDelta, aRoot, anItem))
	add("the root as a file", "A facet in the wrong place.", items(every(func(item object) {
		if item["root"] != nil {
			item["file"] = object{}
		}
	}), aDelta, aRoot))
	add("folders in what they hold", "A folder that is moved into its own child.", items(func(x *exchange, item object) []object {
		id, _ := item["id"].(string)
		if name, _ := item["name"].(string); name != "victim folder" || item["folder"] == nil {
			return []object{item}
		}
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for other, it := range x.h.items {
			if parent, _ := it["parentReference"].(object); it["folder"] != nil && parent["id"] == id {
				item["parentReference"].(object)["id"] = other
			}
		}
		return []object{item}
	}))
	add("folders in what they hold, in the delta", "The same, of the delta alone.", items(func(x *exchange, item object) []object {
		id, _ := item["id"].(string)
		if name, _ := item["name"].(string); name != "victim folder" || item["folder"] == nil {
			return []object{item}
		}
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for other, it := range x.h.items {
			if parent, _ := it["parentReference"].(object); it["folder"] != nil && parent["id"] == id {
				item["parentReference"].(object)["id"] = other
			}
		}
		return []object{item}
	}, aDelta))
	add("files that become folders", "An id that was used again, with something in it.", onlyFiles(func(_ *exchange, item object) []object {
		delete(item, "file")
		item["folder"] = object{"childCount": 1}
		return []object{item, {"id": "IN" + item["id"].(string), "name": "within victim.txt", "size": 3, "file": object{}, "parentReference": object{"id": item["id"]}}}
	}, aDelta))
	add("folders that become files", "The same, the other way.", folders(func(_ *exchange, item object) []object {
		delete(item, "folder")
		item["file"] = object{}
		return []object{item}
	}))
	add("files in files", "A parent that is no folder.", onlyFiles(func(x *exchange, item object) []object {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for other, it := range x.h.items {
			if it["file"] != nil && other != item["id"] {
				item["parentReference"].(object)["id"] = other
			}
		}
		return []object{item}
	}))
	add("items in no folder", "Broken serialisation.", items(each(inParent(func(_, parent object) { parent["id"] = "" }))))
	add("files that are shortcuts", "A facet in the wrong place.", items(files(with("remoteItem", object{"id": "01ELSEWHERE"}))))
	add("folders that are notebooks", "A facet that comes and goes.", folders(func(_ *exchange, item object) []object {
		item["package"] = object{"type": "oneNote"}
		delete(item, "folder")
		return []object{item}
	}))
	add("files of strange ids", "Ids that an address cannot hold as they are.", pages(func(x *exchange, page object) bool {
		value, _ := page["value"].([]any)
		for _, v := range value {
			item, _ := v.(object)
			if item["root"] == nil {
				continue
			}
			for _, id := range []string{".", "..", "a/b", "../../x", "?x#y", "%2e", "\x00", "root", ":", strings.Repeat("x", 10_000), string(noUTF8), " ", "é"} {
				value = append(value, object{"id": id, "name": "stranger victim.txt", "size": 1, "file": object{}, "parentReference": object{"id": item["id"]}})
			}
			break
		}
		page["value"] = value
		return true
	}))
	add("members of other types", "Broken serialisation.", items(each(func(item object) {
		item["eTag"], item["createdDateTime"] = 7, 12345678
		item["fileSystemInfo"] = "now"
	})))
	add("names that are numbers", "A spreadsheet's view of names.", items(each(with("name", 12345)), aDelta, aListing))
	add("names that are null", "Broken serialisation.", items(each(with("name", nil)), aDelta, aListing))
	add("parents that are texts", "Broken serialisation.", items(each(with("parentReference", "root")), aDelta))
	add("folders that are true", "Another notation.", items(every(func(item object) {
		if item["folder"] != nil && item["root"] == nil {
			item["folder"] = true
		}
	}), aDelta))
	add("childCount that is a text", "IEEE754Compatible answers.", items(every(func(item object) {
		if folder, ok := item["folder"].(object); ok {
			folder["childCount"] = "3"
		}
	})))
	add("childCount below nothing", "Counters that overflowed.", items(every(func(item object) {
		if folder, ok := item["folder"].(object); ok {
			folder["childCount"] = -1
		}
	})))
	add("items deep in objects", "An answer that means harm.", pages(func(_ *exchange, page object) bool {
		value, _ := page["value"].([]any)
		for _, v := range value {
			if item, ok := v.(object); ok {
				item["deep"] = json.RawMessage(strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000))
			}
		}
		return len(value) > 0
	}))

	// Looks and listings that do not agree with the delta.
	add("items in another folder when they are looked at", "Two replicas, of which one lags behind.", both(items(files(unhashed), aDelta), items(func(x *exchange, item object) []object {
		if isVictim(x, item) {
			x.h.mu.Lock()
			for id, it := range x.h.items {
				if name, _ := it["name"].(string); name == "photos" {
					item["parentReference"].(object)["id"] = id
				}
			}
			x.h.mu.Unlock()
		}
		return []object{item}
	}, anItem)))
	add("items of other names when they are looked at", "The same.", both(items(files(unhashed), aDelta), items(each(with("name", "another name.txt")), anItem)))
	add("items that are login pages", "A proxy whose session ended.", lookedAt(on(answers("text/html", loginPage), anItem)))
	add("items that are lists", "A cache that mixes its answers up.", lookedAt(on(answers("application/json", `[]`), anItem)))
	add("items that redirect in a circle", "A misconfigured front.", lookedAt(on(func(x *exchange) bool {
		return redirect(originOf(x.r) + x.r.URL.RequestURI())(x)
	}, anItem)))
	add("items 410 for good", "Gone, as another service says it.", victims(on(refused(410, "gone"), anItem, aContent)))
	add("items 429 for good", "A throttle that is about one item.", victims(on(refused(429, "activityLimitReached", "Retry-After", "1"), anItem, aContent)))
	add("listings 403", "A folder with rights of its own.", both(items(hidden, aDelta), on(refused(403, "accessDenied"), aListing)))

	// The delta.
	add("a delta that ends after its first page", "An enumeration that broke off and does not say so.", pages(func(x *exchange, page object) bool {
		link, ok := page["@odata.nextLink"].(string)
		if ok {
			delete(page, "@odata.nextLink")
			page["@odata.deltaLink"] = link
		}
		return ok
	}))
	add("a link for more on every page, and one for later", "Both links.", pages(func(x *exchange, page object) bool {
		if link, ok := page["@odata.nextLink"].(string); ok {
			page["@odata.deltaLink"] = link
			return true
		}
		return false
	}))
	add("a deltaLink that stays", "A token that does not move on.", onLink(func(x *exchange, link string) string {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		if old := x.h.links[driveOf(x.r)]; old != "" {
			return old
		}
		return link
	}))
	add("the whole deltaLink of another drive", "A cache that mixes its answers up.", onLink(func(x *exchange, link string) string {
		_, other := otherDrive(x)
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		if of := x.h.links[other]; of != "" {
			return of
		}
		return link
	}))
	add("links without an origin", "Relative addresses.", pages(func(x *exchange, page object) bool {
		hit := false
		for _, name := range []string{"@odata.nextLink", "@odata.deltaLink"} {
			if link, ok := page[name].(string); ok {
				page[name] = strings.TrimPrefix(link, originOf(x.r))
				hit = true
			}
		}
		return hit
	}))
	add("links that are numbers", "Broken serialisation.", pages(func(x *exchange, page object) bool {
		page["@odata.nextLink"] = 7
		return true
	}))
	add("pages compressed", "A proxy that compresses.", on(encoded("gzip", zipped), aDelta))
	add("pages of garbage that is called compressed", "A proxy that says that it compresses.", on(encoded("gzip", nil), aDelta))
	add("pages with a mark before them", "A byte order mark.", on(func(x *exchange) bool {
		x.pass()
		x.body = append([]byte("\xef\xbb\xbf"), x.body...)
		return true
	}, aDelta))
	add("pages with more behind them", "Two answers in one.", on(func(x *exchange) bool {
		x.pass()
		x.body = append(x.body, x.body...)
		return true
	}, aDelta))
	for name, body := range map[string]string{
		"a text": `"value"`, "a text in the list's place": `{"value":"[]"}`,
		"brackets without end": strings.Repeat("[", 100_000), "brackets without end in the list": `{"value":` + strings.Repeat("[", 100_000),
	} {
		add("pages of "+name, "Broken serialisation.", on(answers("application/json", body), aDelta))
	}
	for _, status := range []int{204, 304, 400, 405, 406, 409, 416, 451} {
		add("delta "+strconv.Itoa(status), "A refusal that nobody documents.", on(func(x *exchange) bool {
			refused(status, "generalException")(x)
			if status < 400 {
				x.body = nil
			}
			return true
		}, aDelta))
	}
	add("delta that redirects in a circle", "A misconfigured front.", on(func(x *exchange) bool {
		return redirect(originOf(x.r) + x.r.URL.RequestURI())(x)
	}, aDelta))
	add("delta that redirects to nowhere", "A host that cannot be reached.", on(redirect("http://127.0.0.1:1/x"), aDelta))

	// Who gives tokens, and says which drive is whose.
	for name, body := range map[string]string{
		"no token": `{}`, "an empty token": `{"access_token":""}`, "a token that no header can hold": `{"access_token":"a\nb","expires_in":3600}`,
		"a token of somebody else": `{"access_token":"x.y.z","expires_in":3600}`, "a login page": loginPage, "a number": "7",
	} {
		add("the authority answers with "+name, "An authority in trouble.", on(answers("application/json", body), aToken))
	}
	add("the authority is away for a moment", "The same.", times(1, on(refused(503, "temporarily_unavailable"), aToken)))
	add("tokens that end at once", "A clock that is wrong.", on(func(x *exchange) bool {
		x.pass()
		answer := decode(x.body)
		if answer == nil {
			return false
		}
		answer["expires_in"] = 1
		x.reply(x.status, answer)
		return true
	}, aToken))
	onDrive := func(change func(d object)) spoiler {
		return on(func(x *exchange) bool {
			x.pass()
			d := decode(x.body)
			if d == nil || x.status != http.StatusOK {
				return false
			}
			change(d)
			x.reply(http.StatusOK, d)
			return true
		}, aDrive)
	}
	add("a drive without owner", "A cache that keeps little.", onDrive(func(d object) { delete(d, "owner") }))
	add("a drive of odd quota", "Counters that overflowed.", onDrive(func(d object) { d["quota"] = object{"total": "1e400", "used": -1.5} }))
	add("a drive of another id", "A drive that was made anew.", onDrive(func(d object) { d["id"] = "b!another" }))
	add("a drive that is a login page", "A proxy whose session ended.", on(answers("text/html", loginPage), aDrive))
	add("a drive that is an error document", "An error with status 200.", on(answers("application/json", errorDocument), aDrive))
	add("a drive that redirects in a circle", "A misconfigured front.", on(func(x *exchange) bool {
		return redirect(originOf(x.r) + x.r.URL.RequestURI())(x)
	}, aDrive))
	add("the drive of somebody unnamed", "A cache that mixes its answers up, and keeps little.", on(func(x *exchange) bool {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for path, b := range x.h.drives {
			if path == x.r.URL.Path {
				continue
			}
			d := decode(b)
			delete(d, "owner")
			x.reply(http.StatusOK, d)
			return true
		}
		return false
	}, aDrive))

	// Words that do not agree with each other.
	add("items told once, and denied with their contents", "Files that a list's index has and its store does not.", victims(on(refused(404, "itemNotFound"), anItem, aContent)))
	add("folders told as deleted and denied, not what they hold", "A folder whose entry is being moved to another shard.", both(
		folders(func(x *exchange, item object) []object {
			id, _ := item["id"].(string)
			x.count("folder", id)
			return []object{{"id": id, "deleted": object{"state": "deleted"}}}
		}, aDelta),
		on(func(x *exchange) bool { return x.counted("folder", x.id) > 0 && refused(404, "itemNotFound")(x) }, anItem, aListing)))
	add("a tombstone, and then the item of yesterday", "Pages that are put together of two replicas.", pages(func(x *exchange, page object) bool {
		value, _ := page["value"].([]any)
		hit := false
		for _, v := range value {
			item, _ := v.(object)
			id, _ := item["id"].(string)
			x.h.mu.Lock()
			old := x.h.items[id]
			x.h.mu.Unlock()
			if old != nil && item["deleted"] != nil {
				value, hit = append(value, clone(old)), true
			}
		}
		page["value"] = value
		return hit
	}))
	add("each new token refused", "A token that is worth nothing, of whole lists.", on(func(x *exchange) bool {
		if x.counted("given", x.r.URL.RequestURI()) > 0 {
			return resync(410, "resyncRequired", "", false)(x)
		}
		x.pass()
		if link, ok := decode(x.body)["@odata.deltaLink"].(string); ok && x.status == http.StatusOK {
			x.count("given", strings.TrimPrefix(link, originOf(x.r)))
		}
		return false
	}, aDelta))
	add("the deltaLink of the directory", "A cache that mixes its answers up.", onLink(func(x *exchange, link string) string {
		return originOf(x.r) + "/v1.0/users/delta"
	}))
	return list
}

// redirect sends whoever asks to another address.
func redirect(to string) spoiler {
	return func(x *exchange) bool {
		x.answered, x.status, x.header, x.body = true, http.StatusFound, http.Header{}, nil
		if to != "" {
			x.header.Set("Location", to)
		}
		return true
	}
}

// encoded calls an answer encoded, and encodes it if there is a way given.
func encoded(name string, encode func([]byte) []byte) spoiler {
	return func(x *exchange) bool {
		x.pass()
		if x.status >= 300 {
			return false
		}
		if encode != nil {
			x.body = encode(x.body)
		}
		x.header.Set("Content-Encoding", name)
		x.header.Del("Content-Range")
		x.status = http.StatusOK
		return true
	}
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}
