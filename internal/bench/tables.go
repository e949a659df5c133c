package main

// A table is figures that belong together.
type table struct {
	title   string
	how     string // it was taken
	unit    string // of its figures
	columns []string
	rows    []row
	chart   string // the name of its chart; "" for none
	large   bool   // it is of large cases only
	mixed   bool   // its columns are of different units; the first is drawn
}

// A row has a figure for each column; "" where there is none.
type row struct {
	label string
	cells []string // the benchmark and its metric
}

// beside is a row of a phase of work: Holdfast's figure, and the peers'.
func beside(label, phase, unit string, peers bool) row {
	r := row{label, []string{"Corpus holdfast-" + phase + unit}}
	if peers {
		r.cells = append(r.cells, "Corpus restic-"+phase+unit, "Corpus kopia-"+phase+unit)
	}
	return r
}

func each(label, bench, metric string) row {
	return row{label, []string{bench + "/sqlite " + metric, bench + "/postgres " + metric}}
}

var (
	programs  = []string{"Holdfast", "restic", "kopia"}
	databases = []string{"SQLite", "PostgreSQL"}
)

var tables = []table{
	{title: "Processor time on real files", chart: "processor", unit: "CPU s", columns: programs,
		how: "Go's own sources, or the files that `HOLDFAST_CORPUS` names, are backed up and restored by all three on the same disk in the same run; user and system seconds of whole processes. Holdfast's source, the simulated tenant, has a process of its own and is not counted, HTTP to it is (`BenchmarkCorpus`).",
		rows: []row{
			beside("first backup", "first", "-CPU-s", true),
			beside("nothing changed", "unchanged", "-CPU-s", true),
			beside("ten files changed", "ten", "-CPU-s", false),
			beside("restore of all to a new place", "new-place", "-CPU-s", true),
			beside("restore in place, a fortieth changed", "in-place-a-fortieth", "-CPU-s", false),
			beside("restore in place of an emptied drive", "in-place-all", "-CPU-s", false),
		}},
	{title: "Peak of memory on real files", chart: "memory", unit: "MiB", columns: programs,
		how: "The most that each process was resident in, in the same run.",
		rows: []row{
			beside("first backup", "first", "-MiB", true),
			beside("restore of all to a new place", "new-place", "-MiB", true),
		}},
	{title: "Size of the vault", unit: "MB", columns: programs,
		how:  "What the folder holds after the first backup.",
		rows: []row{{"first backup", []string{"Corpus holdfast-MB", "Corpus restic-MB", "Corpus kopia-MB"}}}},
	{title: "A drive of many tiny files", chart: "large", mixed: true, unit: "a drive", columns: []string{"CPU µs an item", "live bytes an item", "peak MiB"},
		how: "A drive that is nowhere but computed, of `HOLDFAST_ITEMS` items: 20,000 in the small case, 300,000 in the large (`BenchmarkLargeDrive`). The peak is of the whole process, which tests nothing else meanwhile.",
		rows: []row{
			{"first backup", []string{"LargeDrive first-cpu-µs/item", "LargeDrive first-live-B/item", "LargeDrive first-MiB"}},
			{"nothing changed", []string{"LargeDrive unchanged-cpu-µs/item", "LargeDrive unchanged-live-B/item", "LargeDrive unchanged-MiB"}},
			{"all listed again", []string{"LargeDrive resync-cpu-µs/item", "LargeDrive resync-live-B/item", "LargeDrive resync-MiB"}},
		}},
	{title: "Many tiny drives of one tenant", chart: "many", unit: "CPU ms a drive", columns: []string{"of the first fifth", "of the last fifth"},
		how: "Three files in each of `HOLDFAST_DRIVES` drives, 300 in the small case and 8,000 in the large, by eight workers as the server has (`BenchmarkManyDrives`). The last should cost what the first do.",
		rows: []row{
			{"first points", []string{"ManyDrives first-first-cpu-ms/drive", "ManyDrives first-last-cpu-ms/drive"}},
			{"nothing changed", []string{"ManyDrives unchanged-first-cpu-ms/drive", "ManyDrives unchanged-last-cpu-ms/drive"}},
			{"a file changed in each", []string{"ManyDrives changed-first-cpu-ms/drive", "ManyDrives changed-last-cpu-ms/drive"}},
			{"expired points dropped, of all", []string{"ManyDrives expired-cpu-ms/drive"}},
		}},
	{title: "Lists", chart: "lists", unit: "times as long as among 1,000 units", columns: databases,
		how: "Each documented filter, order, search and count, of a catalog with `HOLDFAST_BENCH_ROWS` units, artifacts and restore sessions and ten times as many points and log entries (10,000 in the small case, 1,000,000 in the large), against one with 1,000; the worst of some 150. What takes less than 0.3 ms is taken for that (`BenchmarkLists`). Where there is no index, as of `contains`, at most 20,000 rows are looked at for a page. What is in a range, such as of times, is counted entry by entry of an index, a million at most: that grows up to a bound, a quarter of a second.",
		rows: []row{
			each("the worst list that an index answers", "Lists", "x-small"),
			each("the worst count of a range", "Lists", "x-small-ranges-counted"),
			each("the worst that no index answers", "Lists", "x-small-no-index"),
		}},
	{title: "Requests over HTTP", chart: "http", unit: "times as long as bare", columns: databases,
		how: "From the request to the encoded answer, token and audit entry included, against a bare handler that reads the same rows by a prepared statement and encodes the same JSON, or a bare transaction that inserts 50 rows (`BenchmarkUnitsOverHTTP`, `BenchmarkPatch50OverHTTP`).",
		rows: []row{
			each("a page of 100 units", "UnitsOverHTTP", "x-bare-page"),
			each("one policy", "UnitsOverHTTP", "x-bare-policy"),
			each("a PATCH of 50 units", "Patch50OverHTTP", "x-bare"),
		}},
	{title: "Work in the background", unit: "figure", columns: databases, large: true,
		how: "A bulk job of 50,000 from POST to its end against the bare insertion of the same rows (`BenchmarkBulkJob50k`), and two weeks of points of 20 drives at ten minutes, a tenth of which changes in an hour (`BenchmarkTwoWeeks`).",
		rows: []row{
			each("bulk job, times as long as bare", "BulkJob50k/inactive", "x-bare"),
			each("bulk job in a policy in force, times as long as bare", "BulkJob50k/inForce", "x-bare"),
			each("points of 100,000 drives, GB", "TwoWeeks", "GB/100,000-drives"),
			each("expiry, times as fast as is needed", "TwoWeeks", "x-expiry-needed"),
		}},
	{title: "A drive of 1,000 files of which 200 fail for ever", unit: "figure", columns: []string{"times as long as healthy"}, large: true,
		how:  "The first point of both, in real time (`BenchmarkBadItems`).",
		rows: []row{{"first point", []string{"BadItems times-healthy"}}}},
	{title: "Several processes on one PostgreSQL", unit: "CPU ms of all together", columns: []string{"one, of a quarter", "four, of all", "one, of all"}, large: true,
		how: "Whole `holdfast serve` processes, with their vaults in an S3 store: 400 drives of three files, 50 in each of eight tenants, each due every second (`BenchmarkServes`). Four should do 3.2 times the visits of one that has as much to do as each of them, a quarter of the drives, so that a visit costs them no more than 1.25 times as much. The more one has to do, the less each visit costs it.",
		rows: []row{
			{"a first point", []string{"Serves/quarter first-CPU-ms/drive", "Serves/processes=4 first-CPU-ms/drive", "Serves/processes=1 first-CPU-ms/drive"}},
			{"a visit", []string{"Serves/quarter visit-CPU-ms", "Serves/processes=4 visit-CPU-ms", "Serves/processes=1 visit-CPU-ms"}},
		}},
	{title: "Many tenants in one process", unit: "200 tenants of 20 drives", columns: []string{"figure"}, large: true,
		how: "A `holdfast serve` on one PostgreSQL, with a vault of each tenant's in a folder, three small files in each drive (`BenchmarkTenants`, `HOLDFAST_TENANTS`, `HOLDFAST_DRIVES`). The making of the vaults is in the first points.",
		rows: []row{
			{"a first point, CPU ms", []string{"Tenants first-CPU-ms/drive"}},
			{"a visit, CPU ms", []string{"Tenants visit-CPU-ms"}},
			{"connections to the database, at most", []string{"Tenants connections"}},
			{"open files, at most", []string{"Tenants files"}},
			{"peak of memory, MiB", []string{"Tenants MiB"}},
		}},
}
