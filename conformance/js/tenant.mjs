// What an app does with drives, told by Microsoft's JavaScript client: users and
// groups, items by id and by path, an upload in ranges, a copy, permissions,
// versions, search, a batch, the delta, and being told of changes.
//
// It needs what story.mjs needs, and exits 0 only if every step went as documented.
import assert from "node:assert/strict";
import http from "node:http";
import { ClientSecretCredential } from "@azure/identity";
import { BatchRequestContent, BatchResponseContent, Client, GraphError, OneDriveLargeFileUploadTask, PageIterator } from "@microsoft/microsoft-graph-client";
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

async function eventually(what, check) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
    const result = await check();
    if (result) return result;
  }
  assert.fail(`after a minute, still not true: ${what}`);
}

// The directory.
const users = await client.api("/users").filter("startswith(displayName,'Noor')").select(["id", "displayName"]).get();
assert.deepEqual(users.value.map((u) => u.displayName), ["Noor Haddad"]);
assert.ok((await client.api("/groups").get()).value);
assert.equal((await client.api("/organization").get()).value[0].id, env("HOLDFAST_TENANT"));
assert.ok((await client.api("/sites/root").get()).webUrl);

// Items by id and by path.
const drive = await client.api(`/users/${users.value[0].id}/drive`).get();
const at = `/drives/${drive.id}`;
const root = await client.api(`${at}/root`).get();
const folder = await client.api(`${at}/items/${root.id}/children`).post({ name: "From JavaScript #1", folder: {}, "@microsoft.graph.conflictBehavior": "rename" });
const here = `${at}/root:/${encodeURIComponent(folder.name)}`;
const small = await client.api(`${here}/${encodeURIComponent("naïve café 100%.txt")}:/content`).put("a word");
assert.equal(small.size, 6);
assert.equal((await client.api(`${here}/${encodeURIComponent("naïve café 100%.txt")}`).get()).id, small.id);
const changed = await client.api(`${at}/items/${small.id}/content`).put("two words");
assert.equal(changed.id, small.id);
assert.equal((await client.api(`${at}/items/${small.id}/versions`).get()).value.length, 2);

// The client's own upload in ranges.
const big = Buffer.alloc(3 * 1024 * 1024 + 17, "0123456789");
const task = await OneDriveLargeFileUploadTask.create(client, big, { path: `/${folder.name}`, fileName: "big.bin", rangeSize: 320 * 1024 * 4, conflictBehavior: "replace", uploadSessionURL: `${here}/big.bin:/createUploadSession` });
const uploaded = (await task.upload()).responseBody;
assert.equal(uploaded.size, big.length);
const read = await client.api(`${at}/items/${uploaded.id}/content`).responseType("arraybuffer").get();
assert.ok(big.equals(Buffer.from(read)));

// A copy, with its monitor.
const copying = await client.api(`${at}/items/${small.id}/copy`).responseType("raw").post({ name: "copy.txt", parentReference: { driveId: drive.id, id: folder.id } });
assert.equal(copying.status, 202);
const monitor = copying.headers.get("Location");
await eventually("the copy is there", async () => (await (await fetch(monitor)).json()).status === "completed");

// Who may see it, and what can be found.
const link = await client.api(`${at}/items/${small.id}/createLink`).post({ type: "view", scope: "organization" });
assert.ok(link.link.webUrl);
assert.ok((await client.api(`${at}/items/${small.id}/permissions`).get()).value.length >= 2);
assert.ok((await client.api(`${at}/root/search(q='naïve')`).get()).value.some((i) => i.id === small.id));

// A batch.
const batch = new BatchRequestContent([
  { id: "1", request: new Request(`${url}${at}/items/${small.id}`) },
  { id: "2", request: new Request(`${url}${at}/items/nothing`) },
  { id: "3", request: new Request(`${url}${at}/items/${folder.id}/children`) },
]);
const answers = new BatchResponseContent(await client.api("/$batch").post(await batch.getContent()));
assert.deepEqual(["1", "2", "3"].map((id) => answers.getResponseById(id).status), [200, 404, 200]);

// Being told of changes, at an address of this machine.
const told = [];
const listener = http.createServer((request, response) => {
  const token = new URL(request.url, "http://localhost").searchParams.get("validationToken");
  if (token) return response.writeHead(200, { "Content-Type": "text/plain" }).end(token);
  let body = "";
  request.on("data", (more) => (body += more)).on("end", () => {
    told.push(...JSON.parse(body).value);
    response.writeHead(202).end();
  });
});
await new Promise((done) => listener.listen(0, "127.0.0.1", done));
const subscription = await client.api("/subscriptions").post({
  changeType: "updated", resource: `${at}/root`, clientState: "mine", expirationDateTime: new Date(Date.now() + 3_600_000).toISOString(),
  notificationUrl: `http://127.0.0.1:${listener.address().port}/`,
});

// The delta, page by page, and then what changes.
const items = new Map();
const page = await client.api(`${at}/root/delta`).top(2).get();
const pages = new PageIterator(client, page, (item) => { items.set(item.id, item); return true; });
await pages.iterate();
const token = pages.getDeltaLink();
for (const id of [small.id, uploaded.id, folder.id]) assert.ok(items.has(id));
await client.api(`${at}/items/${folder.id}`).delete();
const gone = new Set();
await new PageIterator(client, await client.api(token).get(), (item) => { if (item.deleted) gone.add(item.id); return true; }).iterate();
assert.ok(gone.has(folder.id));
await assert.rejects(client.api(`${at}/items/${folder.id}`).get(), (e) => e instanceof GraphError && e.statusCode === 404 && e.code === "itemNotFound");
await eventually("the change is told", async () => told.some((n) => n.subscriptionId === subscription.id && n.clientState === "mine"));
await client.api(`/subscriptions/${subscription.id}`).delete();
listener.close();
listener.closeAllConnections();
