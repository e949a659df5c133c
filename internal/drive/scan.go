package drive

import (
	"strconv"

	"holdfast/internal/jsonscan"
)

// facet reads an object of which only counts that it is there.
func facet(s *jsonscan.Scanner, to **struct{}) {
	jsonscan.Pointed(s, to, func(*struct{}) { s.Object(func([]byte) { s.Skip() }) })
}

// itemNames are the members of items that are read, at whatever depth, and those by
// which a session's answer is told from an item.
var itemNames = []string{
	"id", "name", "size", "cTag", "eTag", "createdDateTime", "lastModifiedDateTime", "fileSystemInfo", "parentReference", "sharepointIds",
	"file", "folder", "package", "remoteItem", "root", "malware", "deleted", "siteId", "mimeType", "hashes", "quickXorHash", "childCount",
	"uploadUrl", "nextExpectedRanges", "@microsoft.graph.downloadUrl",
}

func (w *wireItem) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		switch string(key) {
		case "id":
			s.Text(&w.ID)
		case "name":
			s.Text(&w.Name)
		case "size":
			w.Size.UnmarshalJSON(s.Raw())
		case "cTag":
			s.Text(&w.CTag)
		case "eTag":
			s.Text(&w.ETag)
		case "createdDateTime":
			w.CreatedDateTime.UnmarshalJSON(s.Raw())
		case "lastModifiedDateTime":
			w.LastModifiedDateTime.UnmarshalJSON(s.Raw())
		case "fileSystemInfo":
			s.Members(func(key []byte) {
				switch string(key) {
				case "createdDateTime":
					w.FileSystemInfo.CreatedDateTime.UnmarshalJSON(s.Raw())
				case "lastModifiedDateTime":
					w.FileSystemInfo.LastModifiedDateTime.UnmarshalJSON(s.Raw())
				default:
					s.Other(key, itemNames)
				}
			})
		case "parentReference":
			s.Members(func(key []byte) {
				switch string(key) {
				case "id":
					s.Text(&w.ParentReference.ID)
				case "siteId":
					s.Text(&w.ParentReference.SiteID)
				case "name":
					s.Skip()
				default:
					s.Other(key, itemNames)
				}
			})
		case "sharepointIds":
			s.Members(func(key []byte) {
				if string(key) == "siteId" {
					s.Text(&w.SharepointIDs.SiteID)
				} else {
					s.Other(key, itemNames)
				}
			})
		case "file":
			jsonscan.Pointed(s, &w.File, func(f *wireFile) { f.Scan(s) })
		case "folder":
			jsonscan.Pointed(s, &w.Folder, func(f *wireFolder) { f.Scan(s) })
		case "package":
			facet(s, &w.Package)
		case "remoteItem":
			facet(s, &w.RemoteItem)
		case "root":
			facet(s, &w.Root)
		case "malware":
			facet(s, &w.Malware)
		case "deleted":
			facet(s, &w.Deleted)
		case "@microsoft.graph.downloadUrl":
			w.DownloadURL.UnmarshalJSON(s.Raw())
		default:
			s.Other(key, itemNames)
		}
	})
}

func (f *wireFile) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		switch string(key) {
		case "mimeType":
			s.Text(&f.MimeType)
		case "hashes":
			s.Members(func(key []byte) {
				if string(key) == "quickXorHash" {
					s.Text(&f.Hashes.QuickXorHash)
				} else {
					s.Other(key, itemNames)
				}
			})
		default:
			s.Other(key, itemNames)
		}
	})
}

func (f *wireFolder) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		if string(key) != "childCount" {
			s.Other(key, itemNames)
			return
		}
		jsonscan.Pointed(s, &f.ChildCount, func(n *int) {
			var err error
			if *n, err = strconv.Atoi(string(s.Raw())); err != nil {
				s.Off()
			}
		})
	})
}

var pageNames = []string{"value", "@odata.nextLink", "@odata.deltaLink"}

// Scan reads a page of what can be scanned.
func (p *page[T]) Scan(s *jsonscan.Scanner) {
	if _, ok := any(new(T)).(jsonscan.Scanned); !ok {
		s.Off()
		return
	}
	s.Object(func(key []byte) {
		switch string(key) {
		case "value":
			if p.Value != nil {
				s.Off()
			}
			n := 0
			p.Value = jsonscan.Elements(s, func(t *T) {
				if n++; n > maxEntries {
					s.Off()
					return
				}
				any(t).(jsonscan.Scanned).Scan(s)
			})
		case "@odata.nextLink":
			s.Text(&p.Next)
		case "@odata.deltaLink":
			s.Text(&p.Delta)
		default:
			s.Other(key, pageNames)
		}
	})
	if p.Value == nil {
		s.Off()
	}
}
