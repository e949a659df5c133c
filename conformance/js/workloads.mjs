// What is the same for drives, sites and mailboxes, told of each by Microsoft's
// JavaScript client: policies, bulk jobs, rules, units, points, sessions of every
// kind, and what a point is looked into by. Every address of v1.0 is called.
//
// It needs what story.mjs needs and HOLDFAST_SITES and HOLDFAST_MAIL, and exits 0
// only if every step went as documented.
import assert from "node:assert/strict";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { ClientSecretCredential } from "@azure/identity";
import { Client, GraphError } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
const url = env("HOLDFAST_URL");
const credential = new ClientSecretCredential(env("HOLDFAST_TENANT"), env("HOLDFAST_APP"), env("HOLDFAST_SECRET"), {
  authorityHost: url, disableInstanceDiscovery: true,
});
const client = Client.initWithMiddleware({
  baseUrl: url + "/",
  customHosts: new Set(["localhost"]),
  authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: ["https://graph.microsoft.com/.default"] }),
});
const root = "/solutions/backupRestore";
const api = (at) => client.api(`${root}/${at}`);

async function eventually(what, check) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
    const result = await check();
    if (result) return result;
  }
  assert.fail(`after a minute, still not true: ${what}`);
}
const refused = (code, call) => assert.rejects(call, (e) => e instanceof GraphError && e.code === code);

async function write(file, text) {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, text);
}

// holds reports whether a file of a folder holds text.
async function holds(folder, text) {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    if (await readFile(file, "utf8").then((got) => got === text, () => false)) return true;
  }
  return false;
}

// The words of each workload, what it protects here, and where that is on disk.
const group = "(memberOf -any (group.id -in ['00000000-0000-4000-8000-00000000dead']))";
const message = "From: Conrad <conrad@contoso.com>\r\nTo: noor@contoso.com\r\nSubject: Minutes of März\r\n\r\nAttached.\r\n";
const workloads = [
  {
    thing: "drive", policies: "oneDriveForBusinessProtectionPolicies", sessions: "oneDriveForBusinessRestoreSessions", browses: "oneDriveForBusinessBrowseSessions",
    addresses: "drives", subject: "noor@contoso.com", ids: "directoryObjectIds", key: "directoryObjectId", rule: group,
    folder: path.join(env("HOLDFAST_DRIVES"), "noor@contoso.com"), file: "Ελλάδα #2.txt", text: "of a drive",
  },
  {
    thing: "site", policies: "sharePointProtectionPolicies", sessions: "sharePointRestoreSessions", browses: "sharePointBrowseSessions",
    addresses: "siteWebUrls", subject: "https://contoso.sharepoint.com/sites/javascript", ids: "siteIds", key: "siteId", rule: "(webUrl -contains 'nowhere')",
    folder: path.join(env("HOLDFAST_SITES"), "javascript", "libraries", "Documents"), file: "naïve & plain.txt", text: "of a site",
  },
  {
    thing: "mailbox", policies: "exchangeProtectionPolicies", sessions: "exchangeRestoreSessions",
    addresses: "mailboxes", subject: "noor@contoso.com", ids: "directoryObjectIds", key: "directoryObjectId", rule: group,
    folder: path.join(env("HOLDFAST_MAIL"), "noor@contoso.com", "Inbox"), file: "minutes.eml", text: message,
  },
];

for (const w of workloads) {
  const upper = w.thing[0].toUpperCase() + w.thing.slice(1);
  const units = `${w.thing}ProtectionUnits`, jobs = `${units}BulkAdditionJobs`, rules = `${w.thing}InclusionRules`;
  const artifacts = `${w.thing}RestoreArtifacts`, granular = `granular${upper}RestoreArtifacts`, requests = `${artifacts}BulkAdditionRequests`;
  await write(path.join(w.folder, w.file), w.text);

  // A set: its list, its number, and each of it by its id.
  async function whole(set) {
    const { value } = await api(set).get();
    // The client asks for JSON of what is plain text.
    const count = await api(`${set}/$count`).header("Accept", "text/plain").responseType("text").get();
    assert.ok(Number(count) >= value.length, `${set} has ${count} of ${value.length}`);
    assert.ok(value.length > 0, `${set} is empty`);
    for (const one of value.slice(0, 3)) {
      assert.equal((await api(`${set}/${one.id}`).get()).id, one.id);
    }
    return value;
  }

  // A policy, of units that a job and a rule bring in.
  const policy = await api(w.policies).post({ displayName: `JavaScript's ${w.thing}` });
  const mine = `${w.policies}/${policy.id}`;
  const renamed = await api(mine).patch({ displayName: `JavaScript's only ${w.thing}` });
  assert.equal(renamed.displayName, `JavaScript's only ${w.thing}`);
  const job = await api(`${mine}/${jobs}`).post({ displayName: "all", [w.addresses]: [w.subject.toUpperCase().replace("HTTPS", "https")] });
  await eventually("the job is completed", async () => (await api(`${mine}/${jobs}/${job.id}`).get()).status === "completed");
  const rule = await api(`${mine}/${rules}`).post({ [`${w.thing}Expression`]: w.rule });
  await eventually("the rule is evaluated", async () => (await api(`${mine}/${rules}/${rule.id}`).get()).status !== "active");
  await refused("PatchNotAllowedForStaticRule", api(`${mine}/${rules}/${rule.id}`).patch({ [`${w.thing}Expression`]: w.rule }));
  await api(`${mine}/${rules}/${rule.id}/run`).post({});
  await api(`protectionPolicies/${policy.id}/activate`).post({});
  const [unit] = (await api(`${mine}/${units}`).get()).value;
  await eventually(`the ${w.thing} is protected`, async () => (await api(`protectionUnits/${unit.id}`).get()).status === "protected");
  for (const set of [w.policies, "protectionPolicies", `${mine}/${units}`, units, "protectionUnits", `${mine}/${jobs}`, jobs, `${mine}/${rules}`, rules]) await whole(set);
  assert.ok((await api(`protectionUnits/microsoft.graph.${w.thing}ProtectionUnit`).get()).value.some((u) => u.id === unit.id));
  assert.equal((await api(`protectionUnits/${unit.id}/graph.${w.thing}ProtectionUnit`).get())[w.key], unit[w.key]);

  // Its points, listed and searched for.
  const listed = await api("restorePoints").expand(`protectionUnit($filter=id eq '${unit.id}')`)
    .filter(`protectionDateTime lt ${new Date(Date.now() + 60_000).toISOString()}`).get();
  const point = listed.value[0];
  assert.equal((await api(`restorePoints/${point.id}`).get()).id, point.id);
  assert.equal((await api(`restorePoints/${point.id}/protectionUnit`).get()).id, unit.id);
  const latest = { protectionUnitIds: [unit.id], protectionTimePeriod: { startDateTime: "2020-01-01T00:00:00Z" }, restorePointPreference: "latest" };
  const search = await api("restorePoints/search").post(latest);
  assert.equal(search.searchResults.length, 1);

  // run activates a session, and waits for its end.
  async function run(session) {
    await api(`restoreSessions/${session.id}/activate`).post({});
    await eventually("the session is completed", async () => (await api(`${w.sessions}/${session.id}`).get()).status === "completed");
    return session;
  }

  // One file or message comes back by itself: found by looking, or by a search.
  await rm(path.join(w.folder, w.file));
  let part;
  if (w.browses) {
    const browse = await api(w.browses).post({ restorePointId: search.searchResults[0].restorePoint.id });
    assert.equal((await api(`${w.browses}/${browse.id}`).get()).id, browse.id);
    for (const set of [w.browses, "browseSessions"]) assert.ok((await api(set).get()).value.some((b) => b.id === browse.id));
    // Down, a level at a time, and on each to the last page.
    let at = {}, found;
    while (!found) {
      let page = await api(`${w.browses}/${browse.id}/browse`).post(at);
      const all = page.value;
      while (page["@odata.nextLink"]) {
        page = await client.api(page["@odata.nextLink"]).get();
        all.push(...page.value);
      }
      found = all.find((i) => i.name === w.file);
      const next = all.find((i) => ["site", "documentLibrary"].includes(i.type));
      assert.ok(found || next, `${w.file} is not in the backup`);
      if (!found) at = { browseLocationItemKey: next.itemKey, browseResourceType: next.type };
    }
    part = { browseSessionId: browse.id, id: found.itemKey };
  } else {
    const query = { artifactType: "message", queryExpression: "(Subject -like 'minutes*') -and (MessageKind -eq 'Email')" };
    const hits = await api("restorePoints/search").post({ ...latest, artifactQuery: query });
    assert.equal(hits.searchResults[0].artifactHitCount, 1);
    part = { restorePoint: { id: hits.searchResults[0].restorePoint.id }, destinationType: "inPlace", searchResponseId: hits.searchResponseId };
    await refused("InvalidSearchRequest", api("restorePoints/search").post({ ...latest, artifactQuery: { ...query, queryExpression: "Subject is minutes" } }));
  }
  const some = await run(await api(w.sessions).post({ [granular]: [part] }));
  const parts = await api(`${w.sessions}/${some.id}/${granular}`).get();
  assert.deepEqual(parts.value.map((a) => a.status), ["succeeded"]);
  assert.equal((await api(`${w.sessions}/${some.id}/${granular}/${parts.value[0].id}`).get()).status, "succeeded");

  // All of it, in place; by its id in a bulk request; and a draft that is changed.
  const all = await run(await api(w.sessions).post({ [artifacts]: [{ restorePoint: { id: point.id }, destinationType: "inPlace" }] }));
  assert.ok(await holds(w.folder, w.text), `${w.file} did not come back`);
  const [artifact] = await whole(`${w.sessions}/${all.id}/${artifacts}`);
  assert.equal((await api(`${w.sessions}/${all.id}/${artifacts}/${artifact.id}/restorePoint`).get()).id, point.id);
  const bulk = await api("restoreSessions").post({ "@odata.type": `#microsoft.graph.${w.sessions.slice(0, -1)}` });
  const request = await api(`${w.sessions}/${bulk.id}/${requests}`).post({
    displayName: "by id", [w.ids]: [unit[w.key]], protectionTimePeriod: latest.protectionTimePeriod, destinationType: "inPlace", restorePointPreference: "latest",
  });
  await run(bulk);
  assert.equal((await api(`${w.sessions}/${bulk.id}/${requests}/${request.id}`).get()).status, "completed");
  assert.equal((await api(`${w.sessions}/${bulk.id}/${requests}`).get()).value.length, 1);
  await api(`${w.sessions}/${bulk.id}/${requests}/${request.id}`).delete();
  const draft = await api(w.sessions).post({});
  const change = await api(`${w.sessions}/${draft.id}`).patch({ [`${artifacts}@delta`]: [{ restorePoint: { id: point.id }, destinationType: "new" }] });
  assert.equal(change[`${artifacts}@delta`].length, 1);
  for (const set of [w.sessions, "restoreSessions"]) await whole(set);
  await api(`restoreSessions/${draft.id}`).delete();

  // It leaves. Its backups stay.
  const left = await api(mine).patch({ [`${units}@delta`]: [{ "@removed": { reason: "changed" }, id: unit.id }] });
  assert.equal(left[`${units}@delta`][0].status, "removeRequested");
  await eventually("the unit has left", async () => !(await api(`protectionUnits/${unit.id}`).get()).policyId);
  await api(`protectionPolicies/${policy.id}/deactivate`).post({});
  await eventually("the policy is inactive", async () => (await api(`protectionPolicies/${policy.id}`).get()).status === "inactive");
  await api(mine).delete();
  await refused("PolicyNotFound", api(mine).get());
}
