package simtenant

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	exportMailItems = permission{"ErrorAccessDenied", []string{"MailboxItem.ImportExport.All", "MailboxItem.Export.All", "MailboxItem.ImportExport", "MailboxItem.Export"}}
	importMailItems = permission{"ErrorAccessDenied", []string{"MailboxItem.ImportExport.All", "MailboxItem.ImportExport"}}
)

const (
	maxExport  = 20        // items of one export
	maxMail    = 150 << 20 // bytes of an item
	importLife = time.Hour // of an import session
)

// exported is an item that is about to be exported, or what hinders it.
type exported struct {
	id, changeKey string
	head          streamHead
	file          content
	refused       *refusal
}

// exportItems answers with streams of items. They are read while the answer is
// written: twenty items may be three gigabytes.
func (s *Service) exportItems(r *request) error {
	return s.admitted(r, func() error {
		var in struct {
			ItemIDs []string `json:"itemIds"`
		}
		if err := body(r.w, r.Request, &in); err != nil {
			return err
		}
		if n := len(in.ItemIDs); n == 0 || n > maxExport {
			return fail(http.StatusBadRequest, "ErrorInvalidRequest", fmt.Sprintf("itemIds names between 1 and %d items, not %d.", maxExport, n))
		}
		list := make([]exported, len(in.ItemIDs))
		defer func() {
			for _, e := range list {
				if e.file != nil {
					e.file.Close()
				}
			}
		}()
		r.aboutItems(in.ItemIDs...)
		err := s.withMailbox(r, r.place, func(m *mailbox) error {
			for i, id := range in.ItemIDs {
				e, err := s.export(r, m, id)
				if err != nil {
					return err
				}
				list[i] = e
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.answerExport(r, list)
	})
}

// export opens an item for its export. What is wrong with it is the item's own
// affair, unless its id is none of this mailbox.
func (s *Service) export(r *request, m *mailbox, id string) (e exported, err error) {
	e.id = id
	it, err := m.item(id)
	if err == nil {
		err = m.settle(r.Context(), it)
	}
	if err == nil && s.corrupt(it) {
		err = corruptItem()
	}
	if err == nil {
		e.changeKey = it.at.changeKey()
		if e.file, err = m.open(it); err == nil {
			var size int64
			if size, err = sizeOf(e.file); err == nil {
				e.head = it.streamHead(size)
			}
			if size > maxMail {
				err = fail(http.StatusBadRequest, "ErrorMessageSizeExceeded", "The item is larger than an export can carry.")
			}
		}
	}
	if refused, ok := errors.AsType[*refusal](err); ok && refused.code != "ErrorInvalidIdMalformed" {
		e.refused, err = refused, nil
	}
	return e, err
}

// sizeOf is how long a content is.
func sizeOf(f io.Seeker) (int64, error) {
	n, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, onDisk(err)
	}
	return n, nil
}

// answerExport writes the answer of an export. Its length is told first, so that
// one that cannot be brought to its end does not look whole.
func (s *Service) answerExport(r *request, list []exported) error {
	type part struct{ before, after []byte }
	parts, total := make([]part, len(list)), int64(0)
	for i, e := range list {
		v := map[string]any{"itemId": e.id, "changeKey": nil, "data": nil}
		if e.refused != nil {
			v["error"] = map[string]any{"code": e.refused.code, "message": e.refused.message}
		} else {
			v["changeKey"], v["data"] = e.changeKey, ""
			begin, err := e.head.begin()
			if err != nil {
				return err
			}
			total += int64(base64.StdEncoding.EncodedLen(len(begin) + int(e.head.Size) + 32))
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		parts[i].before = text
		if at := strings.Index(string(text), `"data":""`); e.refused == nil {
			at += len(`"data":"`)
			parts[i] = part{text[:at], text[at:]}
		}
		total += int64(len(text))
	}
	const end = "]}"
	context, err := json.Marshal(r.base + "/$metadata#Collection(microsoft.graph.exportItemResponse)")
	if err != nil {
		return err
	}
	begin := `{"@odata.context":` + string(context) + `,"value":[`
	total += int64(len(begin) + len(end) + len(list) - 1)
	h := r.w.Header()
	h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	h.Set("Content-Length", strconv.FormatInt(total, 10))
	r.w.WriteHeader(http.StatusOK)
	w := bufio.NewWriterSize(r.w, 64<<10)
	w.WriteString(begin)
	for i, e := range list {
		if i > 0 {
			w.WriteByte(',')
		}
		w.Write(parts[i].before)
		if e.refused == nil {
			data := base64.NewEncoder(base64.StdEncoding, w)
			if err := errors.Join(e.head.write(data, e.file), data.Close()); err != nil {
				s.log.Warn("an item changed while it was exported", "mailbox", r.place.folder(), "err", err)
				return nil // the answer ends early
			}
			w.Write(parts[i].after)
		}
	}
	w.WriteString(end)
	w.Flush()
	return nil
}

// importPrefix is where imports are sent, on a host of Outlook's.
const importPrefix = "/_outlook/api/gv1.0/Mailboxes("

func (s *Service) createImportSession(r *request, m *mailbox) error {
	app, expires := r.who.app.AppID, s.clock().Add(importLife)
	id := r.place.mailboxID()
	token := app + "." + s.tempauth("import "+app+" "+id, expires)
	r.status, r.answer = http.StatusOK, map[string]any{
		"@odata.context":     r.base + "/$metadata#microsoft.graph.mailboxItemImportSession",
		"importUrl":          originOf(r.Request) + importPrefix + "'" + id + "')/importItem?authtoken=" + url.QueryEscape(token),
		"expirationDateTime": expires.UTC().Format(time.RFC3339),
	}
	return nil
}

// importItem serves an import session's address, which speaks for itself.
func (s *Service) importItem(w http.ResponseWriter, r *http.Request) error {
	id, ok := strings.CutPrefix(r.URL.Path, importPrefix+"'")
	id, rest, ok2 := strings.Cut(id, "')")
	if !ok || !ok2 || !strings.EqualFold(rest, "/importItem") {
		return noRoute()
	}
	if r.Method != http.MethodPost {
		return wrongMethod("POST")
	}
	app, token, _ := strings.Cut(r.URL.Query().Get("authtoken"), ".")
	if err := s.unsealed(token, "import "+app+" "+id); err != nil {
		return err
	}
	guid, _, _ := strings.Cut(strings.TrimPrefix(id, "MBX:"), "@")
	here, ok := s.mailboxes[guid]
	if !ok {
		return noMailbox()
	}
	req := &request{Request: r, w: w, place: mailboxOf(here), query: url.Values{}, base: originOf(r) + "/v1.0", arrived: time.Now()}
	leave, err := s.mailLimits.enter(s, app, req.place)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.mailLimits.upload(s, app, req.place, max(0, r.ContentLength)); err != nil {
		return err
	}
	in, err := readImport(w, r)
	if err != nil {
		return err
	}
	if s.faults.options().Mail.Full {
		return mailboxFull()
	}
	stage, err := s.stageMail(in.file)
	if err != nil {
		return err
	}
	defer s.unstageMail(stage)
	in.gift.stage = stage
	immutable := req.immutable()
	if in.update() {
		req.aboutItems(in.ItemID)
	} else {
		req.about = func(m *mailbox) []*item {
			if f, err := m.folder(in.FolderID); err == nil && f.dir != nil {
				return []*item{f.dir}
			}
			return nil
		}
	}
	return s.onMail(req, func(m *mailbox) error {
		f, err := m.folder(in.FolderID)
		if err != nil {
			return err
		}
		if err := m.d.room(int64(len(in.file))); err != nil {
			return mailboxFull()
		}
		var it *mailItem
		if in.update() {
			it, err = m.imported(r, f, in)
		} else {
			it, err = m.give(in.gift, f)
		}
		if err != nil {
			return err
		}
		req.status, req.answer = http.StatusOK, map[string]any{"itemId": m.stayID(it.at, immutable), "changeKey": it.at.changeKey()}
		return nil
	})
}

// importBody is what an import sends.
type importBody struct {
	FolderID  string `json:"FolderId"`
	Mode      string `json:"Mode"`
	ItemID    string `json:"ItemId"`
	ChangeKey string `json:"ChangeKey"`
	Data      string `json:"Data"`

	gift mailGift
	file []byte
}

func (in *importBody) update() bool { return strings.EqualFold(in.Mode, "update") }

// readImport reads an import and says what is wrong with it.
func readImport(w http.ResponseWriter, r *http.Request) (*importBody, error) {
	wrong := func(message string) (*importBody, error) {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", message)
	}
	in := &importBody{}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, int64(base64.StdEncoding.EncodedLen(maxMail))+1<<20)).Decode(in)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fail(http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The item is larger than an import may be.")
	}
	if err != nil {
		return wrong("The body is not the JSON object that an import takes.")
	}
	switch {
	case in.FolderID == "" || in.Data == "":
		return wrong("An import needs FolderId and Data.")
	case !slices.Contains([]string{"create", "update"}, strings.ToLower(in.Mode)):
		return wrong("Mode is create or update.")
	case !in.update() && in.ItemID+in.ChangeKey != "":
		return wrong("ItemId and ChangeKey must not be given when Mode is create.")
	case in.update() && (in.ItemID == "" || in.ChangeKey == ""):
		return wrong("ItemId and ChangeKey must be given when Mode is update.")
	}
	data, err := base64.StdEncoding.DecodeString(in.Data)
	in.Data = ""
	if err != nil {
		return wrong("Data is not base64.")
	}
	h, file, ok := readStream(data)
	if !ok {
		return nil, fail(http.StatusBadRequest, "ErrorCorruptData", "Data is not an item as it was exported.")
	}
	in.file = file
	in.gift = mailGift{ext: h.Ext, class: h.Class, received: h.Received, created: h.Created, flags: h.flags(), categories: h.Categories, search: h.SearchKey}
	return in, nil
}

// imported gives an item the content and properties of an import that updates it.
func (m *mailbox) imported(r *http.Request, f *mailFolder, in *importBody) (*mailItem, error) {
	it, err := m.item(in.ItemID)
	if err != nil {
		return nil, err
	}
	switch {
	case it.at.in != f:
		return nil, noMailItem()
	case it.at.changeKey() != in.ChangeKey:
		return nil, fail(http.StatusPreconditionFailed, "ErrorIrresolvableConflict", "The change key that was passed does not match the current change key of the item.")
	case itemExt(it.file.name) != in.gift.ext:
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The item is of another kind than Data.")
	}
	return it, m.replace(r.Context(), it, in.gift)
}
