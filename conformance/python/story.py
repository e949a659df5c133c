"""An administrator's story, told by Microsoft's Python client: a policy, a bulk
job, protection, a loss, the restore, and what the SDK has besides, batches included; then the drives of the simulated tenant.

It needs HOLDFAST_URL (https), HOLDFAST_TENANT, HOLDFAST_APP, HOLDFAST_SECRET,
HOLDFAST_DRIVES, and SSL_CERT_FILE for the server's certificate authority. It
ends with 0 only if every step went as documented.
"""
import asyncio
import os
import pathlib
from datetime import datetime, timedelta, timezone

import httpx
from azure.identity.aio import ClientSecretCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.drives.item.items.item.create_upload_session.create_upload_session_post_request_body import CreateUploadSessionPostRequestBody
from msgraph.generated.drives.item.items.item.copy.copy_post_request_body import CopyPostRequestBody
from msgraph.generated.models.destination_type import DestinationType
from msgraph.generated.models.drive_item import DriveItem
from msgraph.generated.models.drive_item_uploadable_properties import DriveItemUploadableProperties
from msgraph.generated.models.drive_protection_unit import DriveProtectionUnit
from msgraph.generated.models.drive_protection_units_bulk_addition_job import DriveProtectionUnitsBulkAdditionJob
from msgraph.generated.models.drive_restore_artifact import DriveRestoreArtifact
from msgraph.generated.models.folder import Folder
from msgraph.generated.models.item_reference import ItemReference
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.one_drive_for_business_protection_policy import OneDriveForBusinessProtectionPolicy
from msgraph.generated.models.one_drive_for_business_restore_session import OneDriveForBusinessRestoreSession
from msgraph.generated.models.restore_point import RestorePoint
from msgraph.generated.models.restore_point_preference import RestorePointPreference
from msgraph.generated.models.restore_session_status import RestoreSessionStatus
from msgraph.generated.models.time_period import TimePeriod
from msgraph.generated.models.protection_policy_status import ProtectionPolicyStatus
from msgraph.generated.models.protection_unit_status import ProtectionUnitStatus
from msgraph.generated.models.service_app import ServiceApp
from msgraph.generated.solutions.backup_restore.enable.enable_post_request_body import EnablePostRequestBody
from msgraph.generated.solutions.backup_restore.protection_units.protection_units_request_builder import ProtectionUnitsRequestBuilder
from msgraph.generated.solutions.backup_restore.restore_points.restore_points_request_builder import RestorePointsRequestBuilder
from msgraph.generated.solutions.backup_restore.restore_points.search.search_post_request_body import SearchPostRequestBody
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem

URL, TENANT = os.environ["HOLDFAST_URL"], os.environ["HOLDFAST_TENANT"]
APP, SECRET = os.environ["HOLDFAST_APP"], os.environ["HOLDFAST_SECRET"]
DRIVES = pathlib.Path(os.environ["HOLDFAST_DRIVES"])
SCOPE = "https://graph.microsoft.com/.default"


def client_of(credential) -> GraphServiceClient:
    provider = AzureIdentityAuthenticationProvider(credential, scopes=[SCOPE], allowed_hosts=["localhost"])
    adapter = GraphRequestAdapter(provider)
    adapter.base_url = URL + "/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def eventually(what, check):
    end = datetime.now() + timedelta(minutes=1)
    while datetime.now() < end:
        if result := await check():
            return result
        await asyncio.sleep(0.1)
    raise AssertionError(f"after a minute, still not true: {what}")


async def refused(code, call):
    try:
        await call
    except ODataError as e:
        assert e.error.code == code, f"{e.error.code}: {e.error.message}, not {code}"
        return
    raise AssertionError(f"no refusal, but {code} was to come")


async def backup(client: GraphServiceClient):
    root = client.solutions.backup_restore
    assert (await root.get()).service_status.status == "enabled"
    await root.enable.post(EnablePostRequestBody(app_owner_tenant_id=TENANT))

    # An owner that no other story protects any more.
    owner, address = "2b014d8c-71fe-4d00-a01a-31850bc5b32c", "noor@contoso.com"
    file = DRIVES / address / "naïve café #8.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("the only copy")

    policies = root.one_drive_for_business_protection_policies
    policy = await policies.post(OneDriveForBusinessProtectionPolicy(display_name="From Python"))
    assert policy.status == ProtectionPolicyStatus.Inactive
    mine = policies.by_one_drive_for_business_protection_policy_id(policy.id)
    jobs = root.drive_protection_units_bulk_addition_jobs.with_url(f"{URL}/v1.0/solutions/backupRestore/oneDriveForBusinessProtectionPolicies/{policy.id}/driveProtectionUnitsBulkAdditionJobs")
    job = await jobs.post(DriveProtectionUnitsBulkAdditionJob(display_name="drives-P", drives=[address.upper()], directory_object_ids=[owner]))

    async def completed():
        got = await root.drive_protection_units_bulk_addition_jobs.by_drive_protection_units_bulk_addition_job_id(job.id).get()
        return got.status == "completed"
    await eventually("the job is completed", completed)

    by_id = root.protection_policies.by_protection_policy_base_id(policy.id)
    assert (await by_id.activate.post()).status == ProtectionPolicyStatus.Updating

    async def protected():
        page = await root.protection_units.graph_drive_protection_unit.get()
        units = [u for u in page.value if u.policy_id == policy.id]
        return len(units) == 1 and units[0].status == ProtectionUnitStatus.Protected and units[0]
    unit = await eventually("the drive is protected", protected)
    assert isinstance(unit, DriveProtectionUnit) and unit.directory_object_id == owner and unit.error is None

    query = RestorePointsRequestBuilder.RestorePointsRequestBuilderGetQueryParameters(
        expand=[f"protectionUnit($filter=id eq '{unit.id}')"],
        filter=f"protectionDateTime lt {(datetime.now(timezone.utc) + timedelta(minutes=1)).strftime('%Y-%m-%dT%H:%M:%SZ')}")
    points = await root.restore_points.get(RequestConfiguration(query_parameters=query))
    assert points.value
    search = SearchPostRequestBody(protection_unit_ids=[unit.id], restore_point_preference=RestorePointPreference.Latest,
                                   protection_time_period=TimePeriod(start_date_time=datetime(2020, 1, 1, tzinfo=timezone.utc)))
    found = await root.restore_points.search.post(search)
    assert len(found.search_results) == 1
    point = found.search_results[0].restore_point

    file.unlink()
    sessions = root.one_drive_for_business_restore_sessions
    session = await sessions.post(OneDriveForBusinessRestoreSession(drive_restore_artifacts=[
        DriveRestoreArtifact(restore_point=RestorePoint(id=point.id), destination_type=DestinationType.InPlace)]))
    assert session.status == RestoreSessionStatus.Draft
    one = root.restore_sessions.by_restore_session_base_id(session.id)
    await one.activate.post()

    async def over():
        return (await one.get()).status == RestoreSessionStatus.Completed
    await eventually("the session is completed", over)
    assert file.read_text() == "the only copy"
    artifacts = await sessions.by_one_drive_for_business_restore_session_id(session.id).drive_restore_artifacts.get()
    assert [a.status for a in artifacts.value] == ["succeeded"]

    await refused("PolicyNotFound", root.protection_policies.by_protection_policy_base_id("00000000-0000-4000-8000-000000000000").get())

    # What the SDK has besides.
    for what in (root.protection_policies, policies, root.protection_units, root.protection_units.graph_drive_protection_unit, root.drive_protection_units,
                 root.drive_protection_units_bulk_addition_jobs, root.drive_inclusion_rules, root.restore_sessions, sessions, root.service_apps):
        assert (await what.get()).value is not None
        assert await what.count.get() >= 0
    app = await root.service_apps.post(ServiceApp())
    assert (await root.service_apps.by_service_app_id(app.id).get()).id == app.id
    top = ProtectionUnitsRequestBuilder.ProtectionUnitsRequestBuilderGetQueryParameters(top=1)
    page = await root.protection_units.get(RequestConfiguration(query_parameters=top))
    seen = {u.id for u in page.value}
    while page.odata_next_link:
        page = await root.protection_units.with_url(page.odata_next_link).get()
        assert not seen & {u.id for u in page.value}
        seen |= {u.id for u in page.value}
    assert unit.id in seen

    # The drive leaves.
    leave = OneDriveForBusinessProtectionPolicy(additional_data={"driveProtectionUnits@delta": [{"@removed": {"reason": "changed"}, "id": unit.id}]})
    await mine.patch(leave)

    async def left():
        return (await root.protection_units.by_protection_unit_base_id(unit.id).get()).policy_id is None
    await eventually("the unit has left", left)
    await refused("Authorization_RequestDenied", root.protection_units.by_protection_unit_base_id(unit.id).offboard.post())
    await by_id.deactivate.post()

    async def inactive():
        return (await by_id.get()).status == ProtectionPolicyStatus.Inactive
    await eventually("the policy is inactive", inactive)
    await by_id.delete()


async def batches(client: GraphServiceClient):
    root = client.solutions.backup_restore
    content = BatchRequestContent()
    ids = {}
    for name, request in (("policies", root.protection_policies.to_get_request_information()), ("units", root.protection_units.to_get_request_information()),
                          ("nothing", root.protection_policies.by_protection_policy_base_id("00000000-0000-4000-8000-000000000000").to_get_request_information()),
                          ("create", root.one_drive_for_business_protection_policies.to_post_request_information(OneDriveForBusinessProtectionPolicy(display_name="In a batch")))):
        item = BatchRequestItem(request)
        ids[name] = item.id
        content.add_request(item.id, item)
    answer = await client.batch.post(content)
    status = {name: answer.get_response_by_id(id).status for name, id in ids.items()}
    assert status == {"policies": 200, "units": 200, "nothing": 404, "create": 201}, status


async def tenant(client: GraphServiceClient):
    query = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(filter="startswith(displayName,'Noor')", select=["id", "displayName"])
    users = (await client.users.get(RequestConfiguration(query_parameters=query))).value
    assert [u.display_name for u in users] == ["Noor Haddad"]
    assert (await client.users.delta.get()).value
    assert (await client.groups.get()).value is not None
    assert (await client.organization.get()).value[0].id == TENANT
    assert (await client.sites.by_site_id("root").get()).web_url

    drive = await client.users.by_user_id(users[0].id).drive.get()
    items = client.drives.by_drive_id(drive.id).items
    root = await client.drives.by_drive_id(drive.id).root.get()
    folder = await items.by_drive_item_id(root.id).children.post(DriveItem(name="From Python #1", folder=Folder()))
    small = await items.by_drive_item_id(f"{folder.id}:/naïve café 100%.txt:").content.put("a word".encode())
    assert small.size == 6 and small.file.hashes.quick_xor_hash
    assert await items.by_drive_item_id(small.id).content.get() == b"a word"
    by_path = await items.by_drive_item_id("root:/From Python #1/naïve café 100%.txt:").get()
    assert by_path.id == small.id

    # By an upload session, in ranges.
    big = bytes(range(256)) * 4096 * 3
    request = CreateUploadSessionPostRequestBody(item=DriveItemUploadableProperties(additional_data={"@microsoft.graph.conflictBehavior": "replace"}))
    session = await items.by_drive_item_id(f"{folder.id}:/big.bin:").create_upload_session.post(request)
    # The SDK's own task for this sends ranges that overlap by a byte.
    async with httpx.AsyncClient() as http:
        for start in range(0, len(big), step := 320 * 1024 * 4):
            part = big[start:start + step]
            answer = await http.put(session.upload_url, content=part, headers={"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(big)}"})
            assert answer.status_code in (201, 202), answer.text
    uploaded = await items.by_drive_item_id(f"{folder.id}:/big.bin:").get()
    assert uploaded.size == len(big) and await items.by_drive_item_id(uploaded.id).content.get() == big

    moved = await items.by_drive_item_id(small.id).patch(DriveItem(name="moved.txt", parent_reference=ItemReference(id=root.id)))
    assert moved.name == "moved.txt" and moved.parent_reference.id == root.id
    await items.by_drive_item_id(small.id).copy.post(CopyPostRequestBody(name="copy.txt", parent_reference=ItemReference(drive_id=drive.id, id=folder.id)))

    async def copied():
        return [c for c in (await items.by_drive_item_id(folder.id).children.get()).value if c.name == "copy.txt"]
    await eventually("the copy is there", copied)
    assert (await items.by_drive_item_id(small.id).permissions.get()).value
    assert (await items.by_drive_item_id(small.id).versions.get()).value
    found = await client.drives.by_drive_id(drive.id).search_with_q("moved").get()
    assert small.id in {i.id for i in found.value}

    # What changes is told by the delta, page by page.
    delta = items.by_drive_item_id(root.id).delta
    page = await delta.get()
    told = {}
    while True:
        told |= {i.id: i for i in page.value}
        if not page.odata_next_link:
            break
        page = await delta.with_url(page.odata_next_link).get()
    assert {small.id, uploaded.id, folder.id} <= told.keys()
    await items.by_drive_item_id(folder.id).delete()
    changes = await delta.with_url(page.odata_delta_link).get()
    assert folder.id in {i.id for i in changes.value if i.deleted}
    await refused("itemNotFound", items.by_drive_item_id(folder.id).get())
    await items.by_drive_item_id(small.id).delete()


async def main():
    async with ClientSecretCredential(TENANT, APP, SECRET, authority=URL, disable_instance_discovery=True) as credential:
        client = client_of(credential)
        await backup(client)
        await batches(client)
        await tenant(client)


if __name__ == "__main__":
    asyncio.run(main())
