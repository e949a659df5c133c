package simtenant

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/quickxor"
)

// What spoilers are made of.

// on spoils only what is asked so.
func on(do spoiler, asks ...ask) spoiler {
	return func(x *exchange) bool {
		for _, a := range asks {
			if x.ask == a || x.listed && a == aContent {
				return do(x)
			}
		}
		return false
	}
}

// victims spoils only what is about an item that is to be hit.
func victims(do spoiler) spoiler {
	return func(x *exchange) bool { return x.victim() && do(x) }
}

// times spoils only the first n exchanges of one kind about one item.
func times(n int, do spoiler) spoiler {
	return func(x *exchange) bool {
		about := x.id
		switch x.ask {
		case aFragment: // whose uploads have an address of their own each
			about = x.name
		case anImport, aMailFolderMade: // of what has no id yet
			about = x.name
		}
		return x.count("times", strconv.Itoa(int(x.ask)), about) <= n && do(x)
	}
}

// once spoils only the first exchange that it can.
func once(do spoiler) spoiler {
	return func(x *exchange) bool {
		if x.counted("once") > 0 || !do(x) {
			return false
		}
		x.count("once")
		return true
	}
}

// after spoils only what comes after n exchanges of any kind.
func after(n int, do spoiler) spoiler {
	return func(x *exchange) bool { return x.count("after") > n && do(x) }
}

// afterEnumeration spoils what comes once a delta has ended.
func afterEnumeration(do spoiler) spoiler {
	return func(x *exchange) bool {
		if x.ask == aDelta {
			x.pass()
			if bytes.Contains(x.body, []byte("@odata.deltaLink")) {
				x.count("ended")
			}
			return false
		}
		return x.counted("ended") > 0 && do(x)
	}
}

// both has each spoiler have its turn.
func both(all ...spoiler) spoiler {
	return func(x *exchange) bool {
		hit := false
		for _, do := range all {
			hit = do(x) || hit
		}
		return hit
	}
}

// refused answers with a refusal in the service's place. The header is given as
// pairs.
func refused(status int, code string, header ...string) spoiler {
	return func(x *exchange) bool {
		x.refuse(status, code)
		for i := 0; i+1 < len(header); i += 2 {
			x.header.Set(header[i], header[i+1])
		}
		return true
	}
}

// lost has the service do what was asked, and the answer be lost.
func lost(x *exchange) bool {
	x.pass()
	if x.status >= 300 {
		return false
	}
	x.refuse(http.StatusGatewayTimeout, "generalException")
	return true
}

// answers answers with something else than was asked for, and status 200.
func answers(contentType, body string) spoiler {
	return func(x *exchange) bool {
		x.answered, x.status, x.body = true, http.StatusOK, []byte(body)
		x.header = http.Header{"Content-Type": {contentType}}
		return true
	}
}

// contents changes the bytes of contents on their way.
func contents(change func(x *exchange, b []byte) []byte) spoiler {
	return on(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusOK && x.status != http.StatusPartialContent {
			return false
		}
		b := change(x, bytes.Clone(x.body))
		if bytes.Equal(b, x.body) {
			return false
		}
		x.body = b
		x.header.Del("Content-Range")
		x.status = http.StatusOK
		return true
	}, someBytes)
}

// items changes items wherever they are told; change returns what is told in
// an item's place. A lone item that is not told is not there.
func items(change func(x *exchange, item object) []object, asks ...ask) spoiler {
	if len(asks) == 0 {
		asks = []ask{aDelta, anItem, aListing, aName}
	}
	return on(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusOK {
			return false
		}
		answer := decode(x.body)
		var out []object
		hit := false
		for _, item := range itemsOf(x.ask, answer) {
			was, _ := json.Marshal(item)
			told := change(x, item)
			if len(told) == 1 {
				is, _ := json.Marshal(told[0])
				hit = hit || !bytes.Equal(was, is)
			} else {
				hit = true
			}
			out = append(out, told...)
		}
		if !hit {
			return false
		}
		if answer = replaceItems(x.ask, answer, out); answer == nil {
			x.refuse(http.StatusNotFound, "itemNotFound")
			return true
		}
		x.reply(http.StatusOK, answer)
		return true
	}, asks...)
}

// each changes those items that are to be hit, in place.
func each(change func(item object)) func(*exchange, object) []object {
	return func(x *exchange, item object) []object {
		if isVictim(x, item) {
			change(item)
		}
		return []object{item}
	}
}

// files is each for files only.
func files(change func(item object)) func(*exchange, object) []object {
	return each(func(item object) {
		if item["file"] != nil {
			change(item)
		}
	})
}

// every changes all items, in place.
func every(change func(item object)) func(*exchange, object) []object {
	return func(_ *exchange, item object) []object {
		change(item)
		return []object{item}
	}
}

// hidden leaves out those items that are to be hit.
func hidden(x *exchange, item object) []object {
	if isVictim(x, item) {
		return nil
	}
	return []object{item}
}

func isVictim(x *exchange, item object) bool {
	if x.ask.ofMail() {
		id, _ := item["id"].(string)
		x.h.mu.Lock()
		name := x.h.names[id]
		x.h.mu.Unlock()
		return item["@removed"] == nil && name != "" && x.h.isVictim(name)
	}
	name, _ := item["name"].(string)
	return item["root"] == nil && item["deleted"] == nil && name != "" && x.h.isVictim(name)
}

// without leaves members out of items.
func without(names ...string) func(object) {
	return func(item object) {
		for _, name := range names {
			delete(item, name)
		}
	}
}

// with gives items a member.
func with(name string, value any) func(object) {
	return func(item object) { item[name] = value }
}

// unhashed makes files such that were not hashed yet.
func unhashed(item object) { item["file"] = object{"hashes": object{}} }

// lookedAt has the delta state no hashes, so that each file is looked at before it is
// downloaded.
func lookedAt(do spoiler) spoiler { return both(items(files(unhashed), aDelta), victims(do)) }

// hashed gives files another hash than theirs, always the same.
func hashed(item object) {
	if file, ok := item["file"].(object); ok {
		id, _ := item["id"].(string)
		h := quickxor.New()
		io.WriteString(h, id)
		file["hashes"] = object{"quickXorHash": quickxor.Encode(h.Sum(nil))}
	}
}

// sized makes files so many bytes longer than they are.
func sized(by int64) func(object) {
	return func(item object) {
		if n, ok := item["size"].(json.Number); ok && item["file"] != nil {
			size, _ := n.Int64()
			item["size"] = max(size+by, 0)
		}
	}
}

// dated gives items a time.
func dated(at string) func(object) {
	return func(item object) {
		item["fileSystemInfo"] = object{"createdDateTime": at, "lastModifiedDateTime": at}
		item["createdDateTime"], item["lastModifiedDateTime"] = at, at
	}
}

// named gives items another name.
func named(change func(name string) string) func(object) {
	return func(item object) {
		if name, ok := item["name"].(string); ok {
			item["name"] = change(name)
		}
	}
}

func inParent(change func(item, parent object)) func(object) {
	return func(item object) {
		if parent, ok := item["parentReference"].(object); ok {
			change(item, parent)
		}
	}
}

// pages changes pages of changes, or of what is asked; change reports whether it
// did.
func pages(change func(x *exchange, page object) bool, asks ...ask) spoiler {
	if len(asks) == 0 {
		asks = []ask{aDelta}
	}
	return on(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusOK {
			return false
		}
		page := decode(x.body)
		if page == nil || !change(x, page) {
			return false
		}
		x.reply(http.StatusOK, page)
		return true
	}, asks...)
}

// linked adds a query parameter to the address that was asked.
func linked(x *exchange, name, value string) string {
	u := *x.r.URL
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return originOf(x.r) + u.RequestURI()
}

// onLink changes the link to the next run, of drives or of what is asked.
func onLink(change func(x *exchange, link string) string, asks ...ask) spoiler {
	return pages(func(x *exchange, page object) bool {
		link, ok := page["@odata.deltaLink"].(string)
		if !ok {
			return false
		}
		if link = change(x, link); link == "" {
			delete(page, "@odata.deltaLink")
		} else {
			page["@odata.deltaLink"] = link
		}
		return true
	}, asks...)
}

// driveOf returns the id of the drive that a request is about.
func driveOf(r *http.Request) string {
	_, rest, _ := strings.Cut(r.URL.Path, "/drives/")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

// otherDrive returns the id of a drive that is not the request's.
func otherDrive(x *exchange) (mine, other string) {
	mine = driveOf(x.r)
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	for _, b := range x.h.drives {
		if id, _ := decode(b)["id"].(string); id != mine {
			return mine, id
		}
	}
	return mine, ""
}

// resync is a refusal of a token, in one of the forms it comes in.
func resync(status int, code, inner string, location bool) spoiler {
	return func(x *exchange) bool {
		x.reply(status, object{"error": object{"code": code, "message": "Enumerate anew.", "innerError": object{"code": inner}}})
		if location {
			u := *x.r.URL
			u.RawQuery = ""
			x.header.Set("Location", originOf(x.r)+u.RequestURI())
		}
		return true
	}
}

// tokens spoils only pages that are asked for with a token.
func tokens(do spoiler) spoiler {
	return on(func(x *exchange) bool { return x.r.URL.Query().Has("token") && do(x) }, aDelta)
}

// yesterday tells items as they were before.
func yesterday(x *exchange, item object) []object {
	id, _ := item["id"].(string)
	x.h.mu.Lock()
	old := x.h.items[id]
	x.h.mu.Unlock()
	if old == nil || !isVictim(x, item) {
		return []object{item}
	}
	return []object{clone(old)}
}

func flip(b []byte, at int) []byte {
	if len(b) > 0 {
		b[at%len(b)] ^= 0x10
	}
	return b
}

const loginPage = "<!DOCTYPE html>\n<html><head><title>Sign in to your account</title></head><body><form action=\"/login\"></form></body></html>\n"
const errorDocument = `{"error":{"code":"generalException","message":"An unspecified error has occurred.","innerError":{"code":"generalException"}}}`

// longPause is a Retry-After that nobody waits for.
const longPause = "14400"

// Profiles returns the profiles of drives, those of reading first.
//
// The reports that they imitate are Microsoft's own pages on delta,
// driveItem content and throttling, the issues of OneDrive/onedrive-api-docs,
// and what rclone, abraunegg/onedrive and corso had to survive.
func Profiles() []Profile { return append(readingProfiles(), restoringProfiles()...) }

// AllProfiles returns all that there are.
func AllProfiles() []Profile { return append(Profiles(), MailProfiles()...) }

func readingProfiles() []Profile {
	list := oddProfiles()
	add := func(name, imitates string, spoil spoiler) {
		list = append(list, Profile{Name: name, Imitates: imitates, spoil: spoil})
	}

	// What is handed out as a content.
	add("content with a flipped bit once", "A bit that memory or a proxy turned, the first time each file is read.",
		victims(times(1, contents(func(_ *exchange, b []byte) []byte { return flip(b, 7) }))))
	add("content with a flipped bit always", "A bit that a disk at the source turned for good.",
		victims(contents(func(_ *exchange, b []byte) []byte { return flip(b, 7) })))
	add("content with another flipped bit each time", "Failing memory in front of the source.",
		victims(contents(func(x *exchange, b []byte) []byte { return flip(b, x.count("flip", x.id)*13) })))
	add("half a content with a matching length", "A gateway that stores what it got of a broken transfer.",
		victims(contents(func(_ *exchange, b []byte) []byte { return b[:len(b)/2] })))
	add("half a content with a matching length once", "The same, once.",
		victims(times(1, contents(func(_ *exchange, b []byte) []byte { return b[:len(b)/2] }))))
	add("content cut once", "A connection that breaks.", victims(times(1, on(func(x *exchange) bool {
		x.pass()
		x.cut = x.status < 300
		return x.cut
	}, someBytes))))
	add("content cut always", "A connection that always breaks at the same file.", victims(on(func(x *exchange) bool {
		x.pass()
		x.cut = x.status < 300
		return x.cut
	}, someBytes)))
	add("content empty", "A store that has lost the bytes.", victims(contents(func(*exchange, []byte) []byte { return nil })))
	add("content with more behind it", "A gateway that adds to what passes.",
		victims(contents(func(_ *exchange, b []byte) []byte { return append(b, "\r\n--boundary--"...) })))
	add("content of another file", "A cache that mixes its answers up.",
		victims(contents(func(*exchange, []byte) []byte { return []byte("of somebody else") })))
	add("content of yesterday", "A replica that lags behind.", victims(contents(func(x *exchange, b []byte) []byte {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		if old, ok := x.h.contents[x.id]; ok {
			return old
		}
		return b
	})))
	add("login page once", "A proxy's login page with status 200.", victims(times(1, on(answers("text/html", loginPage), someBytes))))
	add("login page", "The same, always.", victims(on(answers("text/html", loginPage), someBytes)))
	add("login page as plain bytes", "The same, not called by its name.", victims(on(answers("application/octet-stream", loginPage), someBytes)))
	add("error document", "An error in JSON with status 200.", victims(on(answers("application/json", errorDocument), someBytes)))
	add("error document as plain bytes", "The same, not called by its name.", victims(on(answers("application/octet-stream", errorDocument), someBytes)))
	add("error document once", "The same, once.", victims(times(1, on(answers("application/json", errorDocument), someBytes))))
	add("login page for every content", "A proxy whose session ended.", on(answers("text/html", loginPage), someBytes))
	add("no content", "Status 204 for a file that has bytes.", victims(on(func(x *exchange) bool {
		x.answered, x.status, x.header, x.body = true, http.StatusNoContent, http.Header{}, nil
		return true
	}, someBytes)))
	add("another part than was asked for", "A range that begins elsewhere, after a cut.", victims(on(func(x *exchange) bool {
		if from := x.r.Header.Get("Range"); from != "" {
			x.r.Header.Set("Range", "bytes=0-")
			x.pass()
			x.header.Set("Content-Range", "bytes 1-"+strconv.Itoa(len(x.body))+"/"+strconv.Itoa(len(x.body)+1))
			return true
		}
		x.pass()
		x.cut = x.status < 300
		return x.cut
	}, someBytes)))

	// What is stated of a content.
	add("stated hash wrong for good", "Photos that the service turned after their hash was taken.", items(files(hashed)))
	add("stated size wrong for good", "Sizes in metadata that are not the content's.", items(files(sized(5))))
	add("stated size too small for good", "The same, the other way.", items(files(sized(-5))))
	add("stated hash and size wrong for good", "Office files that the service rewrote after they were uploaded.",
		items(files(func(item object) { hashed(item); sized(-5)(item) })))
	add("no hashes", "Files that were not hashed yet.", items(files(unhashed)))
	add("no hashes anywhere", "Sources that state none.", items(every(func(item object) {
		if item["file"] != nil {
			item["file"] = object{}
		}
	})))
	add("no hashes and half a content", "A file that was not hashed yet, and a broken gateway.", both(
		items(files(unhashed)),
		victims(contents(func(_ *exchange, b []byte) []byte { return b[:len(b)/2] }))))
	add("no sizes", "Items without size.", items(files(without("size"))))
	add("no sizes anywhere", "The same, all of them.", items(every(without("size"))))
	add("no sizes, no hashes", "Nothing by which a content could be proven.", items(files(func(item object) {
		delete(item, "size")
		item["file"] = object{}
	})))
	add("size 0 for a file that has bytes", "Metadata that lags behind an upload.", items(files(with("size", 0))))
	add("size 0, no hash", "The same, and the hash too.", items(files(func(item object) { item["size"] = 0; item["file"] = object{} })))
	add("negative sizes", "Counters that overflowed.", items(files(with("size", -1234))))
	add("huge sizes", "The same, the other way.", items(files(with("size", int64(1)<<62))))
	add("no tags", "Items without cTag and eTag.", items(every(without("cTag", "eTag"))))
	add("tags that never change", "A cTag that says nothing.", items(every(with("cTag", `"c:{same},1"`))))
	add("tags that always change", "A file that is written while it is read, each time.", items(func(x *exchange, item object) []object {
		if isVictim(x, item) && item["file"] != nil {
			item["cTag"] = `"c:{changing},` + strconv.Itoa(x.count("tag")) + `"`
			hashed(item)
			item["file"].(object)["hashes"] = object{"quickXorHash": quickxor.Encode([]byte(strings.Repeat("x", 16) + string(rune('a'+x.count("hash")%26)) + "xxx"))}
		}
		return []object{item}
	}))

	// Refusals of single items.
	add("content 404 once", "A replica that does not know the file yet.", victims(times(1, on(refused(404, "itemNotFound"), aContent))))
	add("content 404 for good", "A file whose bytes are lost at the source.", victims(on(refused(404, "itemNotFound"), aContent)))
	add("content 403 for good", "A file that a policy blocks.", victims(on(refused(403, "accessDenied"), aContent)))
	add("content 423 for good", "A file that is checked out.", victims(on(refused(423, "resourceLocked"), aContent)))
	add("content 500 for good", "A file that breaks the server which reads it.", victims(on(refused(500, "generalException"), aContent)))
	add("content 503 for good", "The same, as it is told more politely.", victims(on(refused(503, "serviceNotAvailable", "Retry-After", "10"), aContent)))
	add("content 401 for good", "An address that expired before it was handed out.", victims(on(refused(401, "unauthenticated"), someBytes)))
	add("content that redirects in a circle", "A misconfigured front.", victims(on(func(x *exchange) bool {
		x.answered, x.status, x.header = true, http.StatusFound, http.Header{"Location": {originOf(x.r) + x.r.URL.RequestURI()}}
		return true
	}, aContent)))
	add("malware", "A file that the source found infected.", both(
		items(files(with("malware", object{"description": "infected"}))), victims(on(refused(403, "malwareDetected", "X-Virus-Infected", "EICAR"), aContent))))
	add("malware found at the download", "The same, told only then.", victims(on(refused(403, "malwareDetected"), aContent)))
	add("item 404 once", "A replica that does not know the item yet.", lookedAt(times(1, on(refused(404, "itemNotFound"), anItem))))
	add("item and content 404 for good", "An index that does not know the item, while the listing does.", victims(on(refused(404, "itemNotFound"), anItem, aContent)))
	add("item 403 for good", "An item with rights of its own.", victims(on(refused(403, "accessDenied"), anItem, aContent)))
	add("item 500 for good", "An item that breaks the server.", victims(on(refused(500, "generalException"), anItem, aContent)))
	add("item 503 for good", "The same, politely.", victims(on(refused(503, "serviceNotAvailable"), anItem, aContent)))
	add("item is another item", "A cache that mixes its answers up.", lookedAt(items(func(x *exchange, item object) []object {
		return []object{{"id": "01SOMEBODYELSE", "name": "else.txt", "size": 4, "parentReference": item["parentReference"], "file": object{}}}
	}, anItem)))
	add("item as it was yesterday", "A replica that lags behind.", lookedAt(items(yesterday, anItem)))
	add("item told as deleted", "The same, for a restored item.", lookedAt(items(func(x *exchange, item object) []object {
		return []object{{"id": item["id"], "deleted": object{"state": "deleted"}}}
	}, anItem)))
	add("all items 404 after the enumeration", "A drive that is moved to another server meanwhile.", afterEnumeration(on(refused(404, "itemNotFound"), anItem, aContent, aListing, someBytes)))
	add("all contents 404 after the enumeration", "The same, for contents only.", afterEnumeration(on(refused(404, "itemNotFound"), aContent)))
	add("everything 404 after the enumeration", "The same, with the root.", afterEnumeration(on(refused(404, "itemNotFound"), aRoot, anItem, aContent, aListing, someBytes)))
	add("a new folder's first look 404", "A folder that the index does not know yet, and the delta leaves out.", both(
		items(func(x *exchange, item object) []object {
			id, _ := item["id"].(string)
			x.h.mu.Lock()
			known := x.h.items[id] != nil
			x.h.mu.Unlock()
			if item["folder"] != nil && !known && isVictim(x, item) {
				return nil
			}
			return []object{item}
		}, aDelta), victims(times(1, on(refused(404, "itemNotFound"), anItem)))))
	add("a parent that is never told", "A folder with rights of its own that hides itself, not what it holds.", both(
		items(func(x *exchange, item object) []object {
			if item["folder"] != nil && isVictim(x, item) {
				return nil
			}
			return []object{item}
		}, aDelta), items(func(x *exchange, item object) []object {
			if item["folder"] != nil && isVictim(x, item) {
				return nil
			}
			return []object{item}
		}, anItem, aListing)))

	// Items that lack something, or hold something odd.
	add("items without parent", "Sparse items.", items(each(without("parentReference"))))
	add("items without name", "Sparse items.", items(each(without("name")), aDelta, aListing))
	add("items without id", "Sparse items.", items(each(without("id")), aDelta, aListing))
	add("items without facet", "Items of a kind that is not known yet.", items(each(without("file", "folder"))))
	add("items of an unknown facet", "The same.", items(each(func(item object) {
		without("file", "folder")(item)
		item["hologram"] = object{}
	})))
	add("items that are null", "Broken serialisation.", pages(func(_ *exchange, page object) bool {
		list, ok := page["value"].([]any)
		page["value"] = append(list, nil, object{})
		return ok
	}))
	add("an id with two kinds", "An id that was used again.", items(func(x *exchange, item object) []object {
		if !isVictim(x, item) || item["file"] == nil {
			return []object{item}
		}
		other := clone(item)
		delete(other, "file")
		other["folder"] = object{"childCount": 0}
		return []object{item, other}
	}, aDelta))
	add("an item that is its own parent", "Corrupt metadata.", items(each(inParent(func(item, parent object) { parent["id"] = item["id"] }))))
	add("folders in a circle", "Folders that are moved into each other while they are listed.", items(func(x *exchange, item object) []object {
		if item["folder"] != nil && isVictim(x, item) {
			id, _ := item["id"].(string)
			x.h.mu.Lock()
			for other, it := range x.h.items {
				if name, _ := it["name"].(string); other != id && it["folder"] != nil && it["root"] == nil && x.h.isVictim(name) {
					if parent, ok := item["parentReference"].(object); ok {
						parent["id"] = other
					}
				}
			}
			x.h.mu.Unlock()
		}
		return []object{item}
	}))
	add("an empty tombstone of a living item", "A tombstone that came out of order.", items(func(x *exchange, item object) []object {
		if !isVictim(x, item) {
			return []object{item}
		}
		return []object{item, {"id": item["id"], "deleted": object{"state": "deleted"}, "parentReference": item["parentReference"]}}
	}, aDelta))
	add("times of the year 1", "Items without times, in old captures.", items(each(dated("0001-01-01T00:00:00Z"))))
	add("times of 1600", "File systems whose epoch is 1601.", items(each(dated("1600-12-31T23:59:59Z"))))
	add("times of 2300", "Clocks that were wrong.", items(each(dated("2300-01-01T00:00:00Z"))))
	add("times of 9999", "The largest time of the service.", items(each(dated("9999-12-31T23:59:59Z"))))
	add("times that are none", "Broken serialisation.", items(each(dated("yesterday, about noon"))))
	add("names of other normal form", "Names as a Mac writes them, beside the others.", items(each(named(norm.NFD.String))))
	add("names equal but for case", "Two items of one name, which the service holds impossible.", items(files(named(func(name string) string {
		if strings.Contains(name, "twin") {
			return "Victim Twin.TXT"
		}
		return name
	}))))
	add("names that are paths", "Names with slashes and dots.", items(files(named(func(name string) string { return "../" + name }))))
	add("names of dots", "The same.", items(files(named(func(string) string { return ".." }))))
	add("names of control characters", "Names that a terminal would obey.", items(files(named(func(name string) string { return "\x1b[2J\x00" + name }))))
	add("names that are no UTF-8", "Bytes that no JSON may hold.", items(files(named(func(name string) string { return string(noUTF8) + name }))))
	add("names of great length", "Names longer than any file system takes.", items(files(named(func(name string) string { return strings.Repeat("long ", 2000) + name }))))
	add("empty names", "Names of nothing.", items(each(with("name", "")), aDelta, aListing))

	// The delta.
	add("a delta that leaves items out", "The holes that Microsoft documents; the folders' childCount tells of them.", items(hidden, aDelta))
	add("a delta that leaves items out, and childCount too", "The same, untold.", items(func(x *exchange, item object) []object {
		if folder, ok := item["folder"].(object); ok {
			delete(folder, "childCount")
		}
		return hidden(x, item)
	}, aDelta, anItem, aRoot))
	leavesMovesOut := items(func(x *exchange, item object) []object {
		id, _ := item["id"].(string)
		x.h.mu.Lock()
		old := x.h.items[id]
		x.h.mu.Unlock()
		if old == nil || !isVictim(x, item) || old["name"] == item["name"] && old["parentReference"].(object)["id"] == item["parentReference"].(object)["id"] {
			return []object{item}
		}
		return nil
	}, aDelta)
	add("a delta that leaves moves out", "A move that is indexed late.", leavesMovesOut)
	add("a delta that leaves moves out, and folders' counts", "The same, untold.", both(leavesMovesOut, items(every(func(item object) {
		if folder, ok := item["folder"].(object); ok {
			delete(folder, "childCount")
		}
	}))))
	add("items as they were yesterday in the delta", "A replica that lags behind.", items(yesterday, aDelta))
	add("childCount too large", "Counts that include what is hidden.", items(every(func(item object) {
		if folder, ok := item["folder"].(object); ok {
			folder["childCount"] = 4711
		}
	})))
	add("childCount too small", "Counts that lag behind.", items(every(func(item object) {
		if folder, ok := item["folder"].(object); ok {
			folder["childCount"] = 0
		}
	})))
	add("deltas and listings that leave items out", "A folder's listing is no snapshot.", items(hidden, aDelta, aListing))
	add("a delta that leaves items out, and listings 404", "A folder that can be looked at and not listed.", both(
		items(hidden, aDelta), on(refused(404, "itemNotFound"), aListing)))
	add("pages in any order", "Microsoft promises none.", pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return len(list) > 1
	}))
	add("items told many times", "Microsoft says that it happens.", pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		page["value"] = append(append(list, list...), list...)
		return len(list) > 0
	}))
	add("nextLinks that never end", "A page that is never the last.", pages(func(x *exchange, page object) bool {
		delete(page, "@odata.deltaLink")
		page["@odata.nextLink"] = linked(x, "endless", strconv.Itoa(x.count("endless")))
		return true
	}))
	add("two pages that point to each other", "A circle of pages.", pages(func(x *exchange, page object) bool {
		delete(page, "@odata.deltaLink")
		other := map[string]string{"a": "b"}[x.r.URL.Query().Get("circle")]
		if other == "" {
			other = "a"
		}
		page["@odata.nextLink"] = linked(x, "circle", other)
		return true
	}))
	add("a page that points to itself", "The smallest circle.", pages(func(x *exchange, page object) bool {
		delete(page, "@odata.deltaLink")
		page["@odata.nextLink"] = originOf(x.r) + x.r.URL.RequestURI()
		return true
	}))
	add("no deltaLink", "A list that ends without saying where to go on.", onLink(func(*exchange, string) string { return "" }))
	add("the deltaLink of another drive", "A cache that mixes its answers up.", onLink(func(x *exchange, link string) string {
		mine, other := otherDrive(x)
		if other == "" {
			return link
		}
		return strings.ReplaceAll(strings.ReplaceAll(link, url.PathEscape(mine), url.PathEscape(other)), mine, other)
	}))
	add("a deltaLink to another host", "Somebody who wants the token.", onLink(func(x *exchange, link string) string {
		return strings.Replace(link, originOf(x.r), "http://127.0.0.1:1", 1)
	}))
	add("a nextLink to another host", "The same, in the middle.", pages(func(x *exchange, page object) bool {
		link, ok := page["@odata.nextLink"].(string)
		page["@odata.nextLink"] = strings.Replace(link, originOf(x.r), "http://127.0.0.1:1", 1)
		return ok
	}))
	add("a deltaLink that is no address", "Broken serialisation.", onLink(func(*exchange, string) string { return "token" }))
	add("pages without value", "Broken serialisation.", pages(func(_ *exchange, page object) bool {
		delete(page, "value")
		return true
	}))
	add("the delta is empty", "An enumeration that ends before it began.", pages(func(x *exchange, page object) bool {
		page["value"] = []any{}
		return true
	}))
	add("a fresh enumeration that is empty", "The same, when the token was refused.", both(
		tokens(times(1, resync(410, "resyncRequired", "resyncApplyDifferences", false))),
		pages(func(x *exchange, page object) bool {
			page["value"] = []any{}
			return true
		})))
	add("a fresh enumeration that leaves items out", "The holes, when the token was refused.", both(
		tokens(times(1, resync(410, "resyncRequired", "resyncApplyDifferences", false))), items(hidden, aDelta)))
	add("the root told as deleted", "A drive that is being moved.", pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		hit := false
		for _, v := range list {
			if item, ok := v.(object); ok && item["root"] != nil {
				item["deleted"] = object{"state": "deleted"}
				hit = true
			}
		}
		return hit
	}))
	add("the root told as deleted, sparsely", "The same, as tombstones are.", pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		hit := false
		for i, v := range list {
			if item, ok := v.(object); ok && item["root"] != nil {
				list[i] = object{"id": item["id"], "deleted": object{"state": "deleted"}}
				hit = true
			}
		}
		return hit
	}))
	add("the root told as deleted, and 404", "A drive that is gone.", both(on(refused(404, "itemNotFound"), aRoot), pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		for i, v := range list {
			if item, ok := v.(object); ok && item["root"] != nil {
				list[i] = object{"id": item["id"], "deleted": object{"state": "deleted"}}
			}
		}
		return len(list) > 0
	})))
	add("root and delta 404", "The same.", on(refused(404, "itemNotFound"), aRoot, aDelta))
	add("another root", "A drive that was made anew under its old id.", anotherRoot)
	add("delta 403", "Rights that were taken away.", on(refused(403, "accessDenied"), aDelta))
	add("delta 500", "A drive too large for the server.", on(refused(500, "generalException"), aDelta))
	add("delta 504 in the middle", "The same, after some pages.", on(func(x *exchange) bool {
		return x.count("504") == 2 && refused(504, "gatewayTimeout")(x)
	}, aDelta))
	add("delta pages cut", "A connection that breaks.", on(times(1, func(x *exchange) bool {
		x.pass()
		x.cut = true
		return true
	}), aDelta))
	add("delta that is a login page", "A proxy whose session ended.", on(answers("text/html", loginPage), aDelta))
	add("delta that is an error document", "An error with status 200.", on(answers("application/json", errorDocument), aDelta))
	for _, form := range []struct {
		status      int
		code, inner string
		location    bool
	}{
		{410, "resyncRequired", "resyncChangesApplyDifferences", true},
		{410, "resyncRequired", "resyncUploadDifferences", false},
		{410, "syncStateNotFound", "", false},
		{400, "invalidRequest", "syncStateInvalid", false},
		{404, "itemNotFound", "", false},
	} {
		add("token refused with "+strconv.Itoa(form.status)+" "+form.code+" "+form.inner, "A token that has expired.",
			tokens(times(1, resync(form.status, form.code, form.inner, form.location))))
	}
	add("every token refused", "A token that is worth nothing.", tokens(resync(410, "resyncRequired", "", false)))

	// All of it.
	add("401 in the middle", "A token that was revoked.", after(4, once(on(refused(401, "InvalidAuthenticationToken"), aDelta, anItem, aContent))))
	add("401 for ever", "An application that lost its consent.", after(4, on(refused(401, "InvalidAuthenticationToken"), aDelta, anItem, aRoot, aContent, aDrive)))
	add("401 and no new tokens", "An application whose secret has expired.", both(
		on(refused(401, "InvalidAuthenticationToken"), aDelta, anItem, aRoot, aContent, aDrive), on(refused(401, "invalid_client"), aToken)))
	add("a long pause for all", "A tenant that is throttled for hours.", on(refused(429, "activityLimitReached", "Retry-After", longPause), aDelta, anItem, aRoot, aContent))
	add("a long pause for contents", "The same, once the downloads begin.", on(refused(429, "activityLimitReached", "Retry-After", longPause), aContent))
	add("a pause without an end stated", "429 without Retry-After.", times(1, on(refused(429, "tooManyRequests"), aDelta, anItem, aContent)))
	add("empty 503", "A front without a back.", times(1, on(func(x *exchange) bool {
		x.answered, x.status, x.header, x.body = true, 503, http.Header{}, nil
		return true
	}, aDelta, anItem, aContent, aRoot)))
	// What is said of a content, and how.
	add("content encoded", "A proxy that compresses whatever passes.", victims(on(func(x *exchange) bool {
		x.pass()
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(x.body)
		z.Close()
		x.body = packed.Bytes()
		x.header.Set("Content-Encoding", "gzip")
		x.header.Del("Content-Range")
		return x.status < 300
	}, someBytes)))
	add("content called encoded", "The same, only said.", victims(on(func(x *exchange) bool {
		x.pass()
		x.header.Set("Content-Encoding", "br")
		return x.status < 300
	}, someBytes)))
	add("content called a web page", "A store that takes every file for one.", victims(on(func(x *exchange) bool {
		x.pass()
		x.header.Set("Content-Type", "text/html; charset=utf-8")
		return x.status < 300
	}, someBytes)))
	add("a part where the whole was asked for", "A cache that holds only the beginning.", victims(on(func(x *exchange) bool {
		x.pass()
		n := len(x.body)
		if x.status != http.StatusOK || n < 2 || x.r.Header.Get("Range") != "" {
			return false
		}
		x.status, x.body = http.StatusPartialContent, x.body[:n/2]
		x.header.Set("Content-Range", "bytes 0-"+strconv.Itoa(n/2-1)+"/"+strconv.Itoa(n))
		return true
	}, someBytes)))
	add("a part of nobody knows what", "The same, and it does not say which.", victims(on(func(x *exchange) bool {
		x.pass()
		n := len(x.body)
		if x.status >= 300 || n < 2 {
			return false
		}
		x.status, x.body = http.StatusPartialContent, x.body[:n/2]
		x.header.Del("Content-Range")
		return true
	}, someBytes)))
	add("content 416 for good", "A store that has lost the bytes.", victims(on(refused(416, "invalidRange"), someBytes)))
	add("content 202 for good", "A store that is still fetching it.", victims(on(func(x *exchange) bool {
		answers("application/json", `{"status":"inProgress"}`)(x)
		x.status = http.StatusAccepted
		return true
	}, someBytes)))
	add("content that redirects nowhere", "An address of a server that is gone.", victims(on(func(x *exchange) bool {
		x.answered, x.status, x.header = true, http.StatusFound, http.Header{"Location": {"http://127.0.0.1:1/content"}}
		return true
	}, aContent)))
	add("content that redirects without saying where", "Broken serialisation.", victims(on(func(x *exchange) bool {
		x.answered, x.status, x.header = true, http.StatusFound, http.Header{}
		return true
	}, aContent)))
	add("hashes without their padding", "Another encoder.", items(files(func(item object) {
		if file, ok := item["file"].(object); ok {
			if hashes, ok := file["hashes"].(object); ok {
				hash, _ := hashes["quickXorHash"].(string)
				hashes["quickXorHash"] = strings.TrimRight(hash, "=")
			}
		}
	})))
	add("hashes that are none", "Broken serialisation.", items(files(with("file", object{"hashes": object{"quickXorHash": "none"}}))))
	add("hashes that are numbers", "The same.", items(files(with("file", object{"hashes": object{"quickXorHash": 4711}}))))
	add("sizes as texts", "Sources that fear for large numbers.", items(every(func(item object) {
		if n, ok := item["size"].(json.Number); ok {
			item["size"] = n.String()
		}
	})))
	add("sizes with fractions", "Sources that count in floating point.", items(files(with("size", 12.5))))
	add("sizes beyond all numbers", "The same.", items(files(with("size", json.Number("1e30")))))

	// Items and tombstones.
	add("living items with a deleted facet", "Items that were restored, told as they were.", items(each(with("deleted", object{"state": "softDeleted"})), aDelta))
	add("tombstones of all that lives", "A delta that takes everything back.", pages(func(_ *exchange, page object) bool {
		list, _ := page["value"].([]any)
		for _, v := range list {
			if item, ok := v.(object); ok && item["root"] == nil && item["deleted"] == nil {
				list = append(list, object{"id": item["id"], "deleted": object{"state": "deleted"}})
			}
		}
		page["value"] = list
		return len(list) > 0
	}))
	add("tombstones of what nobody knows", "Items that came and went.", pages(func(x *exchange, page object) bool {
		list, ok := page["value"].([]any)
		page["value"] = append(list, object{"id": "01NEVERHEARDOF", "deleted": object{}}, object{"deleted": object{}})
		return ok
	}))
	add("two items of one name", "A race at the source.", items(files(named(func(name string) string {
		if strings.Contains(name, "twin") {
			return "victim twin.txt"
		}
		return name
	}))))
	add("items whose members are null", "Broken serialisation.", items(each(func(item object) {
		for name := range item {
			if name != "id" {
				item[name] = nil
			}
		}
	}), aDelta))
	add("items whose members are of other kinds", "The same.", items(each(func(item object) {
		for name := range item {
			if name != "id" {
				item[name] = []any{1, "two"}
			}
		}
	}), aDelta))
	add("items of another drive", "What was moved between two drives.", items(each(inParent(func(_, parent object) {
		parent["driveId"], parent["id"] = "b!somebodyElses", "01SOMEBODYELSES"
	})), aDelta))
	add("a file that is a folder when it is looked at", "An id that was used again.", both(items(files(unhashed), aDelta),
		items(files(func(item object) { delete(item, "file"); item["folder"] = object{"childCount": 0} }), anItem)))

	// Pages.
	add("a nextLink beside the deltaLink", "A page that does not know whether it is the last.", pages(func(x *exchange, page object) bool {
		_, last := page["@odata.deltaLink"]
		if !last || x.count("beside")%2 == 0 {
			return false
		}
		page["@odata.nextLink"] = linked(x, "again", strconv.Itoa(x.count("again")))
		return true
	}))
	for name, body := range map[string]string{
		"a page that is nothing":              "",
		"a page that is null":                 "null",
		"a page that is a list":               "[]",
		"a page whose value is no list":       `{"value":{"id":"x"},"@odata.deltaLink":"x"}`,
		"a page that is half a document":      `{"value":[{"id":"x","name":"y"`,
		"a page that is nested without end":   strings.Repeat(`{"value":[`, 20_000),
		"a page with an error and no changes": `{"error":{"code":"generalException","message":"x"},"value":[]}`,
	} {
		add(name, "Broken serialisation.", on(answers("application/json", body), aDelta))
	}
	add("a refused token's Location leads elsewhere", "Somebody who wants the token.", tokens(times(1, func(x *exchange) bool {
		resync(410, "resyncRequired", "resyncChangesApplyDifferences", false)(x)
		x.header.Set("Location", "http://127.0.0.1:1/v1.0/drives/x/root/delta")
		return true
	})))
	add("every token refused, each time with a Location", "A token that is worth nothing.", tokens(resync(410, "resyncRequired", "resyncChangesApplyDifferences", true)))
	add("listings that never end", "A folder's pages that are never the last, where the delta leaves items out.", both(items(hidden, aDelta), on(func(x *exchange) bool {
		x.pass()
		page := decode(x.body)
		if x.status != http.StatusOK || page == nil {
			return false
		}
		page["@odata.nextLink"] = linked(x, "endless", strconv.Itoa(x.count("endless listing")))
		x.reply(http.StatusOK, page)
		return true
	}, aListing)))
	add("listings of another folder", "A cache that mixes its answers up, where the delta leaves items out.", both(items(hidden, aDelta), items(func(_ *exchange, item object) []object {
		if parent, ok := item["parentReference"].(object); ok {
			parent["id"] = "01ANOTHERFOLDER"
		}
		return []object{item}
	}, aListing)))
	add("a root without id", "Broken serialisation.", both(victims(on(refused(404, "itemNotFound"), aContent)), on(func(x *exchange) bool {
		x.pass()
		root := decode(x.body)
		delete(root, "id")
		x.reply(x.status, root)
		return true
	}, aRoot)))
	add("a root that is nothing", "The same.", both(victims(on(refused(404, "itemNotFound"), aContent)), on(answers("application/json", ""), aRoot)))
	add("a root 404 once", "A replica that does not know the drive yet.", both(victims(on(refused(404, "itemNotFound"), aContent)), on(times(1, refused(404, "itemNotFound")), aRoot)))
	add("a drive without id", "Broken serialisation.", on(answers("application/json", "{}"), aDrive))
	add("items that are nothing", "An answer without a body.", lookedAt(on(answers("application/json", ""), anItem)))

	// Pauses.
	for name, after := range map[string]string{
		"a pause that is no number":            "soon",
		"a pause that is over":                 "Thu, 01 Jan 2015 00:00:00 GMT",
		"a pause that is negative":             "-5",
		"a pause longer than any number holds": "99999999999999999999999",
	} {
		add(name, "A front's own idea of Retry-After.", times(1, on(refused(429, "tooManyRequests", "Retry-After", after), aDelta, anItem, aContent)))
	}
	add("every second request throttled", "A tenant at its limit.", on(func(x *exchange) bool {
		// Of each thing: of all together, chance would say whether one that is asked for
		// beside others is refused again and again.
		return x.count("throttled "+x.r.URL.Path)%2 == 1 && refused(429, "tooManyRequests", "Retry-After", "1")(x)
	}, aDelta, anItem, aContent, aRoot, aDrive))
	add("every third answer cut", "A network that is bad.", on(func(x *exchange) bool {
		if x.count("cut")%3 != 2 {
			return false
		}
		x.pass()
		x.cut = true
		return true
	}, aDelta, anItem, aContent, someBytes, aRoot, aDrive))
	add("no drive", "A licence that was taken away.", on(refused(404, "ResourceNotFound"), aDrive))
	add("a locked drive", "A site that was archived.", on(refused(423, "resourceLocked"), aDrive, aDelta, anItem, aRoot, aContent))
	add("the drive of somebody else", "A cache that mixes its answers up.", on(func(x *exchange) bool {
		x.h.mu.Lock()
		defer x.h.mu.Unlock()
		for path, b := range x.h.drives {
			if path != x.r.URL.Path {
				x.answered, x.status, x.body = true, http.StatusOK, b
				x.header = http.Header{"Content-Type": {"application/json"}}
				return true
			}
		}
		return false
	}, aDrive))
	return list
}

// anotherRoot tells of a root with another id, in all that names it.
func anotherRoot(x *exchange) bool {
	const mark = "NEWROOT"
	x.r = x.r.Clone(x.r.Context())
	x.r.URL.Path = strings.ReplaceAll(x.r.URL.Path, mark, "")
	x.r.URL.RawPath = ""
	x.id = strings.ReplaceAll(x.id, mark, "")
	x.pass()
	switch x.ask {
	case aDelta, anItem, aListing, aRoot:
	default:
		return false
	}
	if x.status != http.StatusOK {
		return false
	}
	answer := decode(x.body)
	hit := false
	for _, item := range itemsOf(x.ask, answer) {
		id, _ := item["id"].(string)
		if item["root"] != nil {
			x.h.mu.Lock()
			x.h.counts["root "+id] = 1
			x.h.mu.Unlock()
			item["id"] = id + mark
			hit = true
		}
	}
	for _, item := range itemsOf(x.ask, answer) {
		parent, _ := item["parentReference"].(object)
		id, _ := parent["id"].(string)
		x.h.mu.Lock()
		root := x.h.counts["root "+id] == 1
		x.h.mu.Unlock()
		if root {
			parent["id"] = id + mark
			hit = true
		}
	}
	if hit {
		x.reply(x.status, answer)
	}
	return hit
}

func restoringProfiles() []Profile {
	var list []Profile
	add := func(name, imitates string, spoil spoiler) {
		list = append(list, Profile{Name: name, Imitates: imitates, Restoring: true, spoil: spoil})
	}
	// begun are the two ways in which an upload begins.
	begun := func(do spoiler) spoiler { return victims(on(do, aSession, aWrite)) }

	add("upload 409 for a while", "A session of before that is still open.", begun(times(3, refused(409, "nameAlreadyExists"))))
	add("upload 409 for good", "A name that something invisible has.", begun(refused(409, "nameAlreadyExists")))
	add("upload 423 for good", "A file that is open in Office.", begun(refused(423, "resourceLocked")))
	add("upload 403 for good", "A retention label.", begun(refused(403, "accessDenied")))
	add("upload 400 pathIsTooLong", "A path that the service does not take.", begun(refused(400, "pathIsTooLong")))
	add("upload 412 for good", "A tag that never fits.", begun(refused(412, "resourceModified")))
	add("upload 500 for good", "A name that breaks the server.", begun(refused(500, "generalException")))
	add("upload 507", "A drive that is full.", on(refused(507, "quotaLimitReached"), aSession, aWrite))
	add("upload 429 with a long pause", "A tenant that is throttled for hours.", times(1, on(refused(429, "activityLimitReached", "Retry-After", longPause), aSession, aWrite)))
	add("upload without an address", "An answer that lacks what it is for.", begun(on(answers("application/json", `{}`), aSession)))
	add("upload answered with a login page", "A proxy whose session ended.", begun(times(2, answers("text/html", loginPage))))
	add("an address that leads nowhere", "A host that cannot be reached.", begun(on(answers("application/json", `{"uploadUrl":"http://127.0.0.1:1/x","nextExpectedRanges":["0-"]}`), aSession)))
	add("the session is gone once", "A session that was lost.", victims(times(1, on(refused(404, "itemNotFound"), aFragment))))
	add("the session is gone for good", "Sessions that are always lost.", victims(on(refused(404, "itemNotFound"), aFragment)))
	add("the session's token has expired", "401 at the upload's address.", victims(times(1, on(refused(401, "unauthenticated"), aFragment))))
	add("the upload's answer is lost", "It took effect and nobody heard.", victims(times(1, on(lost, aFragment, aWrite))))
	add("the upload's answer is a login page", "The same, with status 200.", victims(times(1, on(func(x *exchange) bool {
		x.pass()
		return answers("text/html", loginPage)(x)
	}, aFragment, aWrite))))
	add("the upload's answer is another item", "A cache that mixes its answers up.", victims(on(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusCreated && x.status != http.StatusOK {
			return false
		}
		x.reply(x.status, object{"id": "01SOMEBODYELSE", "name": "else.txt", "size": 4, "file": object{}, "parentReference": object{"id": "01NOWHERE"}})
		return true
	}, aFragment, aWrite)))
	add("the upload's answer is another living item", "The same, and there is one of that id.", victims(on(func(x *exchange) bool {
		x.pass()
		return (x.status == http.StatusCreated || x.status == http.StatusOK) && another(x, "file")
	}, aFragment, aWrite)))
	add("changes answered with another living item", "The same, of what was renamed or moved.", victims(on(func(x *exchange) bool {
		x.pass()
		return x.status == http.StatusOK && another(x, "file")
	}, aChange)))
	add("folders answered with another living folder", "The same, of folders.", victims(on(func(x *exchange) bool {
		x.pass()
		return x.status == http.StatusCreated && another(x, "folder")
	}, aFolder)))
	add("the service rewrites what was uploaded", "Office files, whose properties the service adds to.", victims(on(rewritten, aFragment)))
	add("a bit flips on the way up", "Failing memory in front of the source.", victims(times(1, on(func(x *exchange) bool {
		b, _ := io.ReadAll(x.r.Body)
		x.r.Body = io.NopCloser(bytes.NewReader(flip(b, 3)))
		return len(b) > 0
	}, aFragment))))
	add("a bit flips on the way up, and nothing is hashed", "The same, at a source that states no hashes.", both(
		items(every(func(item object) {
			if item["file"] != nil {
				item["file"] = object{}
			}
		})),
		victims(times(1, on(func(x *exchange) bool {
			b, _ := io.ReadAll(x.r.Body)
			x.r.Body = io.NopCloser(bytes.NewReader(flip(b, 3)))
			return len(b) > 0
		}, aFragment)))))
	add("half of it is kept", "A store that loses some of what was uploaded, once.", victims(times(1, on(func(x *exchange) bool {
		b, _ := io.ReadAll(x.r.Body)
		return resized(x, b, b[:len(b)/2])
	}, aFragment))))
	add("half of it is kept, always", "The same, for good.", victims(on(func(x *exchange) bool {
		b, _ := io.ReadAll(x.r.Body)
		return resized(x, b, b[:len(b)/2])
	}, aFragment)))
	add("one byte of it is kept", "The same, nearly all of it.", victims(times(1, on(func(x *exchange) bool {
		b, _ := io.ReadAll(x.r.Body)
		return resized(x, b, b[:min(len(b), 1)])
	}, aFragment))))
	add("nonsense about what is expected next", "Ranges that are none.", victims(times(3, on(answers202(`{"nextExpectedRanges":["x-y"]}`), aFragment))))
	add("changes ignored", "A service that says yes and does nothing.", victims(on(ignored, aChange)))
	add("changes 409 for good", "A name that something invisible has.", victims(on(refused(409, "nameAlreadyExists"), aChange)))
	add("changes 423 for good", "An item that is open.", victims(on(refused(423, "resourceLocked"), aChange)))
	add("changes whose answer is lost", "They took effect and nobody heard.", times(1, on(lost, aChange)))
	add("deletes answered 404", "An index that does not know the item.", on(refused(404, "itemNotFound"), aDelete))
	add("deletes answered, not done", "A service that says yes and does nothing.", on(func(x *exchange) bool {
		x.answered, x.status, x.header = true, http.StatusNoContent, http.Header{}
		return true
	}, aDelete))
	add("deletes 403 for good", "A retention label.", on(refused(403, "accessDenied"), aDelete))
	add("deletes 423 for good", "Items that are open.", on(refused(423, "resourceLocked"), aDelete))
	add("deletes whose answer is lost", "They took effect and nobody heard.", times(1, on(lost, aDelete)))
	add("folders 409 for good", "A name that something invisible has.", victims(on(refused(409, "nameAlreadyExists"), aFolder)))
	add("folders 500, made nevertheless", "They took effect and nobody heard.", times(1, on(lost, aFolder)))
	add("folders 403 for good", "Rights that are missing.", victims(on(refused(403, "accessDenied"), aFolder)))
	add("libraries 500, made nevertheless", "They took effect and nobody heard.", once(on(func(x *exchange) bool {
		return x.r.Method == http.MethodPost && lost(x)
	}, aLibrary)))
	add("libraries 403", "Rights that are missing.", on(func(x *exchange) bool {
		return x.r.Method == http.MethodPost && refused(403, "accessDenied")(x)
	}, aLibrary))
	add("401 in the middle of a restore", "A token that was revoked.", times(1, on(refused(401, "InvalidAuthenticationToken"), aSession, aWrite, aChange, aFolder)))
	add("503 for every write", "A drive that is read only for now.", on(refused(503, "serviceReadOnly", "Retry-After", "20"), aSession, aWrite, aChange, aFolder, aDelete))
	add("uploads under another name", "A service that sees a conflict where none is, and makes a second name.", victims(on(func(x *exchange) bool {
		b, _ := io.ReadAll(x.r.Body)
		x.r = x.r.Clone(x.r.Context())
		changed := bytes.ReplaceAll(b, []byte(`"@microsoft.graph.conflictBehavior":"fail"`), []byte(`"@microsoft.graph.conflictBehavior":"rename"`))
		hit := !bytes.Equal(b, changed)
		if hit { // beside one that has the name
			x.r.URL.Path = strings.Replace(x.r.URL.Path, ":/createUploadSession", " 1:/createUploadSession", 1)
			changed = bytes.ReplaceAll(changed, []byte(`"name":`), []byte(`"description":`))
		}
		x.r.Body, x.r.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
		return hit
	}, aSession)))
	add("uploads answered without hash and size", "A service that works them out later.", victims(on(func(x *exchange) bool {
		x.pass()
		item := decode(x.body)
		if item["id"] == nil {
			return false
		}
		delete(item, "size")
		item["file"] = object{}
		x.reply(x.status, item)
		return true
	}, aFragment, aWrite)))
	add("uploads answered with size 0", "The same, as it is told before.", victims(on(func(x *exchange) bool {
		x.pass()
		item := decode(x.body)
		if item["id"] == nil {
			return false
		}
		item["size"], item["file"] = 0, object{}
		x.reply(x.status, item)
		return true
	}, aFragment, aWrite)))
	add("uploads answered with nothing", "Status 201 and no item.", victims(times(1, on(func(x *exchange) bool {
		x.pass()
		x.body = []byte("{}")
		return x.status == http.StatusCreated || x.status == http.StatusOK
	}, aFragment, aWrite))))
	add("uploads that are never finished", "A session that has all and wants more.", victims(on(answers202(`{"nextExpectedRanges":["0-"]}`), aFragment)))
	add("fragments 416 for good", "A session that disagrees about what it has.", victims(on(refused(416, "invalidRange"), aFragment)))
	add("fragments 413 for good", "A proxy that takes no large bodies.", victims(on(refused(413, "requestEntityTooLarge"), aFragment)))
	add("fragments cut once", "A connection that breaks on the way back.", victims(times(1, on(func(x *exchange) bool {
		x.pass()
		x.cut = true
		return true
	}, aFragment))))
	add("folders 404 for a while", "A folder that was made and is not known everywhere yet.", victims(times(2, on(refused(404, "itemNotFound"), aSession, aWrite, aFolder))))
	add("changes answered with another item", "A cache that mixes its answers up.", victims(on(func(x *exchange) bool {
		x.pass()
		if x.status != http.StatusOK {
			return false
		}
		x.reply(http.StatusOK, object{"id": "01SOMEBODYELSE", "name": "else.txt", "size": 4, "file": object{}, "parentReference": object{"id": "01NOWHERE"}})
		return true
	}, aChange)))
	add("changes answered with nothing", "Status 200 and no item.", victims(on(func(x *exchange) bool {
		x.pass()
		x.body = []byte("{}")
		return x.status == http.StatusOK
	}, aChange)))
	add("changes 404 for good", "An index that does not know the item.", victims(on(refused(404, "itemNotFound"), aChange)))
	add("every second write throttled", "A tenant at its limit.", on(func(x *exchange) bool {
		// Of each thing: of all together, chance would say whether one that is asked for
		// beside others is refused again and again.
		return x.count("throttled "+x.r.URL.Path)%2 == 1 && refused(429, "tooManyRequests", "Retry-After", "1")(x)
	}, aSession, aWrite, aFragment, aChange, aFolder, aDelete))
	add("every third answer to a write cut", "A network that is bad.", on(func(x *exchange) bool {
		if x.count("cut")%3 != 2 {
			return false
		}
		x.pass()
		x.cut = true
		return true
	}, aSession, aWrite, aFragment, aChange, aFolder, aDelete))
	add("listings that skip what was written", "An index that lags behind.", items(hidden, aListing, aName))
	add("listings in which a folder is in itself", "A circle.", victims(on(func(x *exchange) bool {
		x.pass()
		page := decode(x.body)
		list, _ := page["value"].([]any)
		if x.status != http.StatusOK {
			return false
		}
		page["value"] = append(list, object{"id": x.id, "name": x.name, "folder": object{"childCount": len(list)}, "parentReference": object{"id": x.id}})
		x.reply(http.StatusOK, page)
		return true
	}, aListing)))
	add("listings that tell the same many times", "Pages that overlap.", on(func(x *exchange) bool {
		x.pass()
		page := decode(x.body)
		list, _ := page["value"].([]any)
		page["value"] = append(append(list, list...), list...)
		x.reply(x.status, page)
		return len(list) > 0
	}, aListing))
	add("the delta leaves out what was written", "The holes, after a restore.", items(hidden, aDelta))
	return list
}

// another answers with an item of a kind that was there before, and is none that
// is to be hit.
func another(x *exchange, kind string) bool {
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	found := ""
	for id, item := range x.h.items {
		name, _ := item["name"].(string)
		if item[kind] != nil && item["root"] == nil && !x.h.isVictim(name) && (found == "" || id < found) {
			found = id
		}
	}
	if found != "" {
		x.reply(x.status, x.h.items[found])
	}
	return found != ""
}

func answers202(body string) spoiler {
	return func(x *exchange) bool {
		answers("application/json", body)(x)
		x.status = http.StatusAccepted
		return true
	}
}

// ignored answers a change with the item as it is, as though the change were
// done.
func ignored(x *exchange) bool {
	x.r = x.r.Clone(x.r.Context())
	x.r.Method, x.r.Body, x.r.ContentLength = http.MethodGet, http.NoBody, 0
	x.pass()
	return true
}

// rewritten adds to a content that is uploaded in one part.
func rewritten(x *exchange) bool {
	b, _ := io.ReadAll(x.r.Body)
	return resized(x, b, append(bytes.Clone(b), "<docProps>of the service</docProps>"...))
}

// resized puts another content in the place of one that is uploaded in one part.
func resized(x *exchange, b, other []byte) bool {
	x.r.Body = io.NopCloser(bytes.NewReader(b))
	if len(b) == 0 || len(other) == 0 || !strings.HasSuffix(x.r.Header.Get("Content-Range"), "/"+strconv.Itoa(len(b))) {
		return false
	}
	n := len(other)
	x.r = x.r.Clone(x.r.Context())
	x.r.Body, x.r.ContentLength = io.NopCloser(bytes.NewReader(other)), int64(n)
	x.r.Header.Set("Content-Length", strconv.Itoa(n))
	x.r.Header.Set("Content-Range", "bytes 0-"+strconv.Itoa(n-1)+"/"+strconv.Itoa(n))
	return true
}
