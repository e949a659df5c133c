package simtenant

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A Route is something that Graph serves here: a method and a path, and what
// comes of it. The table in docs/tenant.md is made of these.
type Route struct {
	Method  string
	Path    string // {drive} and {item} stand for all the addresses of a drive and an item
	Does    string // in one line
	DoesNot string // of what Microsoft documents; empty if nothing is known to be missing
	Options string // the query options that are served, without their dollar signs

	need  permission
	serve func(*Service, *request) error
}

// Routes returns all that Graph serves here, in the order of the documentation.
func Routes() []Route { return slices.Clone(routes) }

var routes []Route

// What the routes serve of query options, by what they answer with.
const (
	ofOne  = "select"
	ofList = "select top skiptoken"
)

func init() {
	item := func(serve func(*Service, *request, place, target) error) func(*Service, *request) error {
		return func(s *Service, r *request) error { return serve(s, r, r.place, r.target) }
	}
	onDrive := func(serve func(*Service, *request, place) error) func(*Service, *request) error {
		return func(s *Service, r *request) error { return serve(s, r, r.place) }
	}
	onSite := func(serve func(*Service, *request, site) error) func(*Service, *request) error {
		return func(s *Service, r *request) error { return serve(s, r, r.site) }
	}
	routes = []Route{
		{"GET", "/users", "The users, page by page.", "$search; other properties in $filter and $orderby than the table of queries names. Who is deleted.", ofList + " filter orderby count", readUsers, (*Service).listUsers},
		{"GET", "/users/delta", "The users, and afterwards that none has changed: a tenant file is read at the start.", "", ofList + " deltatoken", readUsers, (*Service).usersDelta},
		{"GET", "/users/$count", "How many users there are.", "", "filter", readUsers, (*Service).countUsers},
		{"GET", "/groups/$count", "How many groups there are.", "", "filter", readGroups, (*Service).countGroups},
		{"GET", "{user}/licenseDetails", "A user's licenses: one if there is a drive, else none.", "Service plans.", ofOne, readUsers, (*Service).licenseDetails},
		{"GET", "{user}", "A user.", "", ofOne, readUsers, func(s *Service, r *request) error { return s.getUser(r, r.user) }},
		{"GET", "{user}/drives", "A user's drive and the libraries beside it.", "", ofList, readFiles, onSite((*Service).listDrives)},
		{"GET", "/groups", "The groups, page by page.", "$search; other properties in $filter and $orderby than the table of queries names.", ofList + " filter orderby count", readGroups, (*Service).listGroups},
		{"GET", "{group}", "A group.", "", ofOne, readGroups, func(s *Service, r *request) error { return s.getGroup(r, r.group) }},
		{"GET", "/groups/delta", "The groups with their members, and afterwards that none has changed.", "", ofList + " deltatoken", readGroups, (*Service).groupsDelta},
		{"GET", "/directory/deletedItems/microsoft.graph.user", "Who is deleted.", "Groups; nobody is restored.", ofList, readUsers, (*Service).deletedUsers},
		{"GET", "/organization", "The tenant.", "Plans.", ofOne, readUsers, (*Service).organization},
		{"GET", "/organization/{organization}", "The same.", "", ofOne, readUsers, (*Service).organization},
		{"GET", "{site}/drives", "The site's document libraries.", "", ofList, readFiles, onSite((*Service).listDrives)},
		{"GET", "{site}/lists", "The site's lists, its document libraries first; hidden ones if $select names system.", "Lists of personal sites other than their libraries.", ofList, readFiles, onSite((*Service).listLists)},
		{"POST", "{site}/lists", "Makes a list or a document library, with columns: a folder.", "Lists of personal sites other than libraries.", "", manageSites, onSite((*Service).createList)},
		{"GET", "{site}/recycleBin/items", "What is in the recycle bins of the site's libraries.", "The second stage; nothing leaves after 93 days.", ofList, readFiles, onSite((*Service).listBin)},
		{"POST", "{site}/recycleBin/items/restore", "Restores what ids names to where it was; each with an outcome of its own.", "", "", writeFiles, onSite((*Service).restoreFromBin)},
		{"POST", "{site}/recycleBin/items/delete", "Destroys what ids names.", "", "", writeFiles, onSite((*Service).deleteFromBin)},

		{"GET", "{drive}", "A drive, with its quota.", "", ofOne, readFiles, onDrive((*Service).getDrive)},
		{"GET", "{item}", "An item.", "", ofOne, readFiles, item((*Service).getItem)},
		{"PATCH", "{item}", "Renames, moves or dates an item.", "", ofOne, writeFiles, item((*Service).patchItem)},
		{"DELETE", "{item}", "Puts an item into the recycle bin.", "", "", writeFiles, func(s *Service, r *request) error { return s.deleteItem(r, r.place, r.target, false) }},
		{"POST", "{item}/permanentDelete", "Destroys an item.", "", "", writeFiles, func(s *Service, r *request) error { return s.deleteItem(r, r.place, r.target, true) }},
		{"POST", "{item}/restore", "Takes an item out of the recycle bin, with its id and all that was in it.", "", "", writeFiles, item((*Service).restoreItem)},
		{"GET", "{item}/children", "What a folder holds, page by page.", "", ofList + " orderby count", readFiles, item((*Service).listChildren)},
		{"POST", "{item}/children", "Makes a folder.", "Files: they are uploaded.", ofOne, writeFiles, item((*Service).createFolder)},
		{"GET", "{item}/delta", "What changed in a drive since a token, or all of it; to scans of permissions (the header Prefer) which items have shares of their own, and of files that they were shared since.", "Only of the root.", ofList + " deltatoken", readFiles, item((*Service).delta)},
		{"GET", "{item}/content", "A file's bytes: 302 to a pre-authenticated URL, or 200 in the mode that streams.", "Conversion (format=).", "", readFiles, item((*Service).getContent)},
		{"GET", "{item}/contentStream", "A file's bytes, always 200.", "", "", readFiles, item((*Service).streamContent)},
		{"PUT", "{item}/content", "Uploads a file of less than 250 MB in one request.", "", ofOne, writeFiles, item((*Service).putContent)},
		{"POST", "{item}/createUploadSession", "Begins an upload in fragments, with resumption, deferred commit and conflict behaviour.", "", "", writeFiles, item((*Service).createUpload)},

		{"GET", "{item}/search", "The items below a folder whose names hold every word, as in search(q='a text').", "Contents, and what others shared.", ofList, readFiles, item((*Service).search)},
		{"GET", "{drive}/search", "The same of the whole drive.", "", ofList, readFiles, item((*Service).search)},
		{"GET", "{drive}/recent", "The files that changed last.", "What the owner only opened.", "select top", readFiles, onDrive((*Service).recent)},
		{"GET", "{drive}/sharedWithMe", "What others shared with the drive's owner, as remoteItem.", "Links.", ofList, readFiles, onDrive((*Service).sharedWithMe)},

		{"GET", "{item}/versions", "The contents that a file had before uploads replaced them, the newest first, page by page.", "What other programs overwrote on disk.", ofList, readFiles, item((*Service).listVersions)},
		{"GET", "{item}/versions/{version}", "One of them.", "", ofOne, readFiles, item((*Service).getVersion)},
		{"GET", "{item}/versions/{version}/content", "Its bytes. Those of the current version are had at the file.", "", "", readFiles, item((*Service).getVersionContent)},
		{"POST", "{item}/versions/{version}/restoreVersion", "Makes an earlier content the current one.", "", "", writeFiles, item((*Service).restoreVersion)},
		{"DELETE", "{item}/versions/{version}", "Deletes an earlier content.", "", "", writeFiles, item((*Service).deleteVersion)},
		{"GET", "{item}/thumbnails", "The addresses and sizes of a file's thumbnails; $select may name other sizes, such as c300x200.", "Videos and documents look like a sheet of paper.", ofOne, readFiles, item((*Service).listThumbnails)},
		{"GET", "{item}/thumbnails/{set}", "The same, not in a list.", "", ofOne, readFiles, item((*Service).getThumbnailSet)},
		{"GET", "{item}/thumbnails/{set}/{size}", "One of them.", "", "", readFiles, item((*Service).getThumbnail)},
		{"GET", "{item}/thumbnails/{set}/{size}/content", "Its bytes, a JPEG picture.", "", "", readFiles, item((*Service).getThumbnailContent)},
		{"POST", "{item}/checkout", "Keeps a file for whoever calls: others' writes are 423 until it is checked in.", "The new content is seen at once.", "", writeFiles, item((*Service).checkout)},
		{"POST", "{item}/checkin", "Gives it free again.", "comment and checkInAs are not kept.", "", writeFiles, item((*Service).checkin)},
		{"POST", "{item}/discardCheckout", "Gives it free again.", "What was written meanwhile stays.", "", writeFiles, item((*Service).checkin)},
		{"POST", "{item}/copy", "Copies a file or folder, within a drive or to another; the answer names a monitor.", "childrenOnly, includeAllVersionHistory.", "", writeFiles, item((*Service).copyItem)},
		{"GET", "{item}/permissions", "Who may see an item: the owner, who it was shared with, and what is inherited.", "inheritedFrom, as at the service.", ofList, readFiles, item((*Service).listPermissions)},
		{"GET", "{item}/permissions/{permission}", "One of them.", "", ofOne, readFiles, item((*Service).getPermission)},
		{"PATCH", "{item}/permissions/{permission}", "Changes a role or when it ends. What is inherited is refused.", "", "", writeFiles, item((*Service).patchPermission)},
		{"DELETE", "{item}/permissions/{permission}", "Takes it away. What is inherited is refused.", "", "", writeFiles, item((*Service).deletePermission)},
		{"POST", "{item}/invite", "Shares an item with users and groups of the tenant, or with people outside by their address.", "Mail: no invitation is sent.", "", writeFiles, item((*Service).invite)},
		{"POST", "{item}/createLink", "Makes a link, or finds one like it.", "Recipients. The link leads nowhere.", "", writeFiles, item((*Service).createLink)},
	}
	routes = append(routes, membershipRoutes()...)
	routes = append(routes,
		Route{"POST", "/subscriptions", "Has changes of a drive told at an address on this machine, once that has answered the validation.", "Resources other than a drive's root; rich notifications.", "", readFiles, (*Service).subscribe},
		Route{"GET", "/subscriptions", "The application's subscriptions.", "", "", readFiles, (*Service).listSubscriptions},
		Route{"GET", "/subscriptions/{subscription}", "One of them.", "", ofOne, readFiles, (*Service).getSubscription},
		Route{"PATCH", "/subscriptions/{subscription}", "Renews it, or has it tell another address.", "", "", readFiles, (*Service).renewSubscription},
		Route{"POST", "/subscriptions/{subscription}/reauthorize", "Answers a reauthorizationRequired.", "", "", readFiles, (*Service).reauthorize},
		Route{"DELETE", "/subscriptions/{subscription}", "Ends it.", "", "", readFiles, (*Service).unsubscribe},
	)
	routes = append(routes, siteRoutes()...)
	routes = append(routes, listRoutes()...)
	routes = append(routes, pageRoutes()...)
	routes = append(routes, mailRoutes()...)
	routes = append(routes, outlookRoutes()...)
	routes = append(routes, attachmentRoutes()...)
	routes = append(routes, calendarRoutes()...)
	routes = append(routes, photoRoutes()...)
	routes = append(routes, settingsRoutes()...)
	for i := range routes {
		routes[i].index()
	}
}

// membershipRoutes are the calls that tell who is in a group, and in which groups a
// user or a group is: all of them, those of a kind, and how many there are.
func membershipRoutes() (list []Route) {
	for _, of := range []struct {
		path, does, doesNot string
		who                 func(r *request) []member
		casts               []string
	}{
		{"{group}/members", "A group's users and groups.", "Devices, contacts and applications.", func(r *request) []member { return r.who.tenant.members(r.group, false) }, []string{"", "user", "group"}},
		{"{group}/transitiveMembers", "The same, and who is in the groups that are in it.", "", func(r *request) []member { return r.who.tenant.members(r.group, true) }, []string{"", "user", "group"}},
		{"{group}/memberOf", "The groups that a group is in.", "", func(r *request) []member { return r.who.tenant.memberOf(r.group.ID, false) }, []string{"", "group"}},
		{"{group}/transitiveMemberOf", "The same, and those that they are in.", "", func(r *request) []member { return r.who.tenant.memberOf(r.group.ID, true) }, []string{"", "group"}},
		{"{user}/memberOf", "The groups that a user is in.", "Roles.", func(r *request) []member { return r.who.tenant.memberOf(r.user.ID, false) }, []string{"", "group"}},
		{"{user}/transitiveMemberOf", "The same, and those that they are in.", "Roles.", func(r *request) []member { return r.who.tenant.memberOf(r.user.ID, true) }, []string{"", "group"}},
	} {
		for _, cast := range of.casts {
			path, does := of.path, of.does
			if cast != "" {
				path, does = path+"/microsoft.graph."+cast, "Of these the "+cast+"s."
			}
			all := func(r *request) []member {
				list := of.who(r)
				if cast != "" {
					list = slices.DeleteFunc(list, func(m member) bool { return m.kind() != "#microsoft.graph."+cast })
				}
				return list
			}
			list = append(list,
				Route{"GET", path, does, of.doesNot, ofList + " count", readGroups, func(s *Service, r *request) error {
					at := "/users/"
					if r.user != nil {
						at += string(r.user.ID)
					} else {
						at = "/groups/" + string(r.group.ID)
					}
					_, below, _ := strings.Cut(path, "/")
					return s.listMembers(r, all(r), at+"/"+below, cast != "")
				}},
				Route{"GET", path + "/$count", "How many they are.", "", "", readGroups, func(_ *Service, r *request) error { return r.answerCount(len(all(r))) }},
			)
		}
	}
	return list
}

// byPrefix finds routes by the resource that they begin at.
var byPrefix = map[string][]*Route{}

// index makes the route found. What may follow an item in an address by path
// follows from the routes as well.
func (route *Route) index() {
	prefix, rest := route.split()
	byPrefix[prefix] = append(byPrefix[prefix], route)
	if prefix == "{item}" && len(rest) > 0 {
		actions[strings.ToLower(rest[0])] = true
	}
}

// split returns the resource that the route's path begins at, and the segments
// that follow.
func (route *Route) split() (prefix string, rest []string) {
	prefix, tail, _ := strings.Cut(route.Path, "/")
	if tail == "" {
		return prefix, nil
	}
	return prefix, strings.Split(tail, "/")
}

// fits reports whether the path behind the resource is the route's, and takes
// down what its variables stand for.
func (route *Route) fits(r *request, path []string) bool {
	_, want := route.split()
	if len(want) != len(path) {
		return false
	}
	for i, segment := range path {
		if name, ok := strings.CutPrefix(want[i], "{"); ok {
			text, err := url.PathUnescape(segment)
			if err != nil || text == "" {
				return false
			}
			r.vars[strings.TrimSuffix(name, "}")] = text
			continue
		}
		name, arg, call := strings.Cut(segment, "(")
		if literal(name) != literal(want[i]) {
			return false
		}
		if call {
			r.arg = strings.TrimSuffix(arg, ")")
		}
	}
	return true
}

// literal is a segment of the grammar in the form that they are compared in.
func literal(segment string) string {
	segment = strings.ToLower(segment)
	if rest, ok := strings.CutPrefix(segment, "microsoft.graph."); ok {
		return rest
	}
	return segment
}

// unserved are parts of mailboxes that Microsoft documents and nothing serves here
// where no route has them.
var unserved = map[string]bool{
	"attachments": true, "photo": true, "photos": true, "checklistitems": true, "linkedresources": true, "calendargroups": true,
	"calendarpermissions": true, "messagerules": true, "extensions": true, "inferenceclassification": true, "getschedule": true, "findmeetingtimes": true,
}

// dispatch serves what an address names: a resource, and the path behind it.
func (s *Service) dispatch(r *request, prefix, rest string) error {
	var path []string
	if rest = strings.Trim(rest, "/"); rest != "" {
		path = strings.Split(rest, "/")
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allow []string
	for _, route := range byPrefix[prefix] {
		r.vars = map[string]string{}
		if !route.fits(r, path) {
			continue
		}
		if route.Method == method {
			// Who signed in may always know who they are.
			if self := route.Path == "{user}" && r.who.user != nil && r.user == r.who.user; !self {
				if err := s.allowed(r, route); err != nil {
					return err
				}
			}
			if err := route.takes(r.query); err != nil {
				return err
			}
			if err := s.makeSpecial(r); err != nil {
				return err
			}
			return route.serve(s, r)
		}
		allow = append(allow, route.Method)
	}
	switch {
	case allow != nil:
		return wrongMethod(allow...)
	case prefix == "{item}" && actions[literal(path[0])]:
		return notSupported("'" + path[0] + "'")
	case prefix == "{user}":
		for _, segment := range path {
			if unserved[literal(segment)] {
				return notSupported("'" + segment + "'")
			}
		}
	}
	return noRoute()
}

// systemOptions are the query options that have a meaning everywhere.
var systemOptions = map[string]bool{
	"select": true, "expand": true, "filter": true, "orderby": true, "search": true, "count": true,
	"skip": true, "top": true, "skiptoken": true, "deltatoken": true, "format": true,
}

// takes refuses the query options that the route does not serve: an option that
// has no effect would be taken for one that has.
func (route *Route) takes(q url.Values) error {
	served := strings.Fields(route.Options)
	for key, values := range q {
		name, dollar := strings.CutPrefix(key, "$")
		name = strings.ToLower(name)
		switch {
		case name == "count" && slices.Contains(served, name) && len(values) > 0 && !strings.EqualFold(values[0], "true") && !strings.EqualFold(values[0], "false"):
			return badRequest("$count is true or false.")
		case !dollar && !systemOptions[name], slices.Contains(served, name):
			continue
		case name == "count" && len(values) > 0 && strings.EqualFold(values[0], "false"):
			continue
		case dollar && name == "format" && len(values) > 0 && (strings.EqualFold(values[0], "json") || strings.EqualFold(values[0], "application/json")):
			continue
		}
		e := badRequest("The query option '" + key + "' is not supported here.").because("notSupported")
		if strings.HasPrefix(route.Path, "/users") || strings.HasPrefix(route.Path, "{user") || strings.HasPrefix(route.Path, "/groups") || strings.HasPrefix(route.Path, "{group") {
			e.code = "Request_UnsupportedQuery"
		}
		return e
	}
	return nil
}
