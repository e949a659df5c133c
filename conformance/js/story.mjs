// An administrator's story, told by Microsoft's JavaScript client: a policy, a
// bulk job, a rule, protection, a loss, the restore, and offboarding.
//
// It needs HOLDFAST_URL (https), HOLDFAST_TENANT, HOLDFAST_APP,
// HOLDFAST_SECRET, HOLDFAST_DRIVES, and NODE_EXTRA_CA_CERTS for the server's
// certificate authority. It exits 0 only if every step went as documented.
import assert from "node:assert/strict";
import { rm, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { ClientSecretCredential } from "@azure/identity";
import { Client, GraphError, PageIterator } from "@microsoft/microsoft-graph-client";
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

async function eventually(what, check) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
    const result = await check();
    if (result) return result;
  }
  assert.fail(`after a minute, still not true: ${what}`);
}

const service = await client.api(root).get();
assert.equal(service.serviceStatus.status, "enabled");

// An owner that no other story protects.
const owner = "2b014d8c-71fe-4d00-a01a-31850bc5b32c", address = "noor@contoso.com";
const file = path.join(env("HOLDFAST_DRIVES"), address, "naïve café #7.txt");
await writeFile(file, "the only copy");

const policy = await client.api(`${root}/oneDriveForBusinessProtectionPolicies`).post({ displayName: "From JavaScript" });
assert.equal(policy.status, "inactive");
const job = await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveProtectionUnitsBulkAdditionJobs`)
  .post({ displayName: "drives-I", drives: [address.toUpperCase()], directoryObjectIds: [owner] });
assert.equal(job.status, "active");
await eventually("the job is completed", async () =>
  (await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveProtectionUnitsBulkAdditionJobs/${job.id}`).get()).status === "completed");

// A rule brings in the members of a group.
const rule = await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveInclusionRules`)
  .post({ driveExpression: "(memberOf -any (group.id -in ['00000000-0000-4000-8000-00000000dead']))" });
assert.equal(rule.status, "active");
const evaluated = await eventually("the rule is evaluated", async () => {
  const r = await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveInclusionRules/${rule.id}`).get();
  return r.status !== "active" && r;
});
assert.equal(evaluated.error.code, "invalidGroupId"); // nobody has made this group
await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveInclusionRules/${rule.id}`).delete();

const activated = await client.api(`${root}/protectionPolicies/${policy.id}/activate`).post({});
assert.equal(activated.status, "updating");
const units = await eventually("the drive is protected", async () => {
  const found = [];
  const page = await client.api(`${root}/protectionUnits/microsoft.graph.driveProtectionUnit`).top(2).get();
  await new PageIterator(client, page, (unit) => { found.push(unit); return true; }).iterate();
  const ours = found.filter((u) => u.policyId === policy.id);
  return ours.length === 1 && ours[0].status === "protected" && ours;
});

const filtered = await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}/driveProtectionUnits`)
  .filter(`directoryObjectId eq '${owner}'`).select(["id", "status"]).get();
assert.equal(filtered.value.length, 1);

const listed = await client.api(`${root}/restorePoints`)
  .expand(`protectionUnit($filter=id eq '${units[0].id}')`)
  .filter(`protectionDateTime lt ${new Date(Date.now() + 60_000).toISOString()}`).get();
assert.ok(listed.value.length >= 1);
const search = await client.api(`${root}/restorePoints/search`).post({
  protectionUnitIds: [units[0].id], protectionTimePeriod: { startDateTime: "2020-01-01T00:00:00Z" }, restorePointPreference: "latest",
});
assert.equal(search.searchResults.length, 1);

await rm(file);
const session = await client.api(`${root}/oneDriveForBusinessRestoreSessions`).post({
  driveRestoreArtifacts: [{ restorePoint: { id: search.searchResults[0].restorePoint.id }, destinationType: "inPlace" }],
});
assert.equal(session.status, "draft");
await client.api(`${root}/restoreSessions/${session.id}/activate`).post({});
await eventually("the session is completed", async () =>
  (await client.api(`${root}/restoreSessions/${session.id}`).get()).status === "completed");
assert.equal(await readFile(file, "utf8"), "the only copy");

// A refusal arrives as the client's own error.
await assert.rejects(client.api(`${root}/protectionPolicies/00000000-0000-4000-8000-000000000000`).get(),
  (e) => e instanceof GraphError && e.statusCode === 404 && e.code === "PolicyNotFound");

// The drive leaves, and its unit is offboarded. Only a person may do that: a
// token for one comes for a password in the simulated tenant.
await client.api(`${root}/oneDriveForBusinessProtectionPolicies/${policy.id}`)
  .patch({ "driveProtectionUnits@delta": [{ "@removed": { reason: "changed" }, id: units[0].id }] });
await eventually("the unit has left", async () => !(await client.api(`${root}/protectionUnits/${units[0].id}`).get()).policyId);
await assert.rejects(client.api(`${root}/protectionUnits/${units[0].id}/offboard`).post({}), (e) => e.statusCode === 403);
const answer = await fetch(`${url}/${env("HOLDFAST_TENANT")}/oauth2/v2.0/token`, {
  method: "POST",
  body: new URLSearchParams({
    grant_type: "password", client_id: env("HOLDFAST_APP"), client_secret: env("HOLDFAST_SECRET"),
    username: "User1@contoso.com", password: "any", scope: "https://graph.microsoft.com/.default",
  }),
});
const { access_token: token } = await answer.json();
const person = Client.init({ baseUrl: url + "/", customHosts: new Set(["localhost"]), authProvider: (done) => done(null, token) });
const leaving = await person.api(`${root}/protectionUnits/${units[0].id}/offboard`).header("Prefer", "include-unknown-enum-members").post({});
assert.equal(leaving.status, "offboardRequested");
await person.api(`${root}/protectionUnits/${units[0].id}/cancelOffboard`).post({});

await client.api(`${root}/protectionPolicies/${policy.id}/deactivate`).post({});
await eventually("the policy is inactive", async () =>
  (await client.api(`${root}/protectionPolicies/${policy.id}`).get()).status === "inactive");
await client.api(`${root}/protectionPolicies/${policy.id}`).delete();
