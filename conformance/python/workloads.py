"""What is the same for drives, sites and mailboxes, told of each by Microsoft's
Python client; what only a person may do; and then every builder that the client
has: what reads is called by itself, what writes must be in a story, and what the
API documents no operation for is refused as unknown and is in unserved.txt.

It needs what story.py needs, HOLDFAST_SITES and HOLDFAST_MAIL, and ends with 0
only if every step went as documented. With --update it rewrites unserved.txt.
"""
import asyncio
import importlib
import inspect
import os
import pathlib
import re
import sys
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlparse

import httpx
from azure.core.credentials import AccessToken
from azure.identity.aio import ClientSecretCredential
from kiota_abstractions.base_request_builder import BaseRequestBuilder
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.method import Method
from kiota_abstractions.request_information import RequestInformation
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.solutions.backup_restore.browse_sessions.item.browse.browse_post_request_body import BrowsePostRequestBody
from msgraph.generated.solutions.backup_restore.restore_points.restore_points_request_builder import RestorePointsRequestBuilder
from msgraph.generated.solutions.backup_restore.restore_points.search.search_post_request_body import SearchPostRequestBody
from msgraph.generated.solutions.backup_restore.service_apps.item.activate.activate_post_request_body import ActivatePostRequestBody
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem

from story import APP, DRIVES, SECRET, TENANT, URL, client_of, eventually, refused

SITES, MAIL = pathlib.Path(os.environ["HOLDFAST_SITES"]), pathlib.Path(os.environ["HOLDFAST_MAIL"])
NOBODY = "00000000-0000-4000-8000-000000000000"


def model(name):
    """A model of the SDK, by its name."""
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module("msgraph.generated.models." + module), name)


# What the stories called, by method and template of the address.
told = set()


def call_of(info: RequestInformation):
    return f"{info.http_method.value} {info.url_template.split('{?')[0].removeprefix('{+baseurl}/solutions/')}"


def unserved(error):
    return isinstance(error, ODataError) and (error.response_status_code == 405 or error.error.message == "There is no resource at this address.")


class Recorder(GraphRequestAdapter):
    """An adapter that remembers which calls the API knew."""

    async def get_http_response_message(self, request_info, *rest, **more):
        call = call_of(request_info) if request_info.url_template else None
        response = await super().get_http_response_message(request_info, *rest, **more)
        if response.status_code != 405 and "There is no resource at this address." not in (response.text if response.status_code == 404 else ""):
            told.add(call)
        return response


class Person:
    """The credential of a person who uses the application."""

    async def get_token(self, *_, **__):
        async with httpx.AsyncClient(verify=os.environ["SSL_CERT_FILE"]) as http:
            answer = await http.post(f"{URL}/{TENANT}/oauth2/v2.0/token", data={
                "grant_type": "password", "client_id": APP, "client_secret": SECRET, "username": "User1@contoso.com",
                "password": "any", "scope": "https://graph.microsoft.com/.default"})
        return AccessToken(answer.json()["access_token"], int(time.time()) + 3600)

    async def close(self):
        pass


class Words:
    """What a workload is called by the SDK, and what of it is protected here."""

    def __init__(self, thing, service, subject, addresses, ids, key, folder, file, text, expression):
        self.thing, self.Thing = thing, thing.capitalize()
        self.Service, self.service = service, re.sub(r"(?<!^)(?=[A-Z])", "_", service).lower()
        self.subject, self.addresses, self.ids, self.key = subject, addresses, ids, key
        self.folder, self.file, self.text, self.expression = folder, file, text, expression
        self.granular = f"granular_{thing}_restore_artifacts"

    def at(self, root, form):
        """A builder below root, by its name with the workload's word in it."""
        return getattr(root, form.format(thing=self.thing, service=self.service))

    def one(self, builder, form, id):
        return getattr(builder, "by_" + form.format(thing=self.thing, service=self.service) + "_id")(id)

    def model(self, form):
        return model(form.format(Thing=self.Thing, Service=self.Service))


GROUP = "(memberOf -any (group.id -in ['00000000-0000-4000-8000-00000000dead']))"
WORKLOADS = [
    Words("drive", "OneDriveForBusiness", "noor@contoso.com", "drives", "directory_object_ids", "directory_object_id",
          DRIVES / "noor@contoso.com", "Žluťoučký kůň.txt", "of a drive", GROUP),
    Words("site", "SharePoint", "https://contoso.sharepoint.com/sites/python", "site_web_urls", "site_ids", "site_id",
          SITES / "python" / "libraries" / "Documents", "50% & more.txt", "of a site", "(webUrl -contains 'nowhere')"),
    Words("mailbox", "Exchange", "pavel@contoso.com", "mailboxes", "directory_object_ids", "directory_object_id",
          MAIL / "pavel@contoso.com" / "Inbox", "travel.eml",
          "From: Conrad <conrad@contoso.com>\r\nTo: pavel@contoso.com\r\nSubject: Travel to Brno\r\n\r\nBy train.\r\n", GROUP),
]


async def protect_and_restore(client: GraphServiceClient, w: Words, points: list):
    root = client.solutions.backup_restore
    w.folder.mkdir(parents=True, exist_ok=True)
    (w.folder / w.file).write_text(w.text, newline="")
    if w.thing != "mailbox":
        for i in range(12):  # more than a page
            (w.folder / f"other {i}.txt").write_text(str(i))

    # A policy. The SDK says more of it than others do: its type, and what is not set.
    policies = w.at(root, "{service}_protection_policies")
    policy = await policies.post(w.model("{Service}ProtectionPolicy")(display_name="From Python"))
    mine = w.one(policies, "{service}_protection_policy", policy.id)
    assert (await mine.patch(w.model("{Service}ProtectionPolicy")(display_name="From Python, revised"))).display_name == "From Python, revised"
    base = await root.protection_policies.post(w.model("{Service}ProtectionPolicy")(display_name="By its type"))
    await root.protection_policies.by_protection_policy_base_id(base.id).patch(w.model("{Service}ProtectionPolicy")(display_name="By its type, revised"))
    await root.protection_policies.by_protection_policy_base_id(base.id).delete()
    other = await policies.post(w.model("{Service}ProtectionPolicy")(display_name="Of nobody"))
    await w.one(policies, "{service}_protection_policy", other.id).delete()

    # The SDK's way to what is below a policy is its address.
    below = f"{URL}/v1.0/solutions/backupRestore/{w.Service[0].lower()}{w.Service[1:]}ProtectionPolicies/{policy.id}/"
    jobs = w.at(root, "{thing}_protection_units_bulk_addition_jobs")
    job = await jobs.with_url(below + w.thing + "ProtectionUnitsBulkAdditionJobs").post(
        w.model("{Thing}ProtectionUnitsBulkAdditionJob")(display_name="all", **{w.addresses: [w.subject]}))

    async def completed():
        return (await w.one(jobs, "{thing}_protection_units_bulk_addition_job", job.id).get()).status == "completed"
    await eventually("the job is completed", completed)
    rules = w.at(root, "{thing}_inclusion_rules")
    kept = [await rules.with_url(below + w.thing + "InclusionRules").post(w.model("{Thing}ProtectionRule")(**{w.thing + "_expression": w.expression})) for _ in range(2)]
    rule = w.one(rules, "{thing}_protection_rule", kept[1].id).with_url(f"{below}{w.thing}InclusionRules/{kept[1].id}")

    async def evaluated():
        return (await rule.get()).status != "active"
    await eventually("the rule is evaluated", evaluated)
    await refused("PatchNotAllowedForStaticRule", rule.patch(w.model("{Thing}ProtectionRule")(**{w.thing + "_expression": w.expression})))
    await rule.delete()

    by_id = root.protection_policies.by_protection_policy_base_id(policy.id)
    await by_id.activate.post()
    unit = (await w.at(mine, "{thing}_protection_units").get()).value[0]

    async def protected():
        return (await root.protection_units.by_protection_unit_base_id(unit.id).get()).status == "protected"
    await eventually("the unit is protected", protected)

    # Its points.
    query = RestorePointsRequestBuilder.RestorePointsRequestBuilderGetQueryParameters(
        expand=[f"protectionUnit($filter=id eq '{unit.id}')"],
        filter=f"protectionDateTime lt {(datetime.now(timezone.utc) + timedelta(minutes=1)).strftime('%Y-%m-%dT%H:%M:%SZ')}")
    assert (await root.restore_points.get(RequestConfiguration(query_parameters=query))).value
    await refused("InvalidSearchRequest", root.restore_points.count.get())
    latest = dict(protection_unit_ids=[unit.id], restore_point_preference=model("RestorePointPreference").Latest,
                  protection_time_period=model("TimePeriod")(start_date_time=datetime(2020, 1, 1, tzinfo=timezone.utc)))
    found = await root.restore_points.search.post(SearchPostRequestBody(**latest))
    point = model("RestorePoint")(id=found.search_results[0].restore_point.id)
    points.append(point.id)

    sessions = w.at(root, "{service}_restore_sessions")
    artifacts, requests = w.thing + "_restore_artifacts", w.thing + "_restore_artifacts_bulk_addition_requests"
    session = w.model("{Service}RestoreSession")
    in_place = model("DestinationType").InPlace

    def of(id):
        return w.one(sessions, "{service}_restore_session", id)

    async def run(made):
        await root.restore_sessions.by_restore_session_base_id(made.id).activate.post()

        async def over():
            return (await of(made.id).get()).status == model("RestoreSessionStatus").Completed
        await eventually("the session is completed", over)
        return made

    # One file or message, found by looking or by a search.
    (w.folder / w.file).unlink()
    part = w.model("Granular{Thing}RestoreArtifact")()
    if w.thing == "mailbox":
        query = model("ArtifactQuery")(artifact_type=model("RestorableArtifact").Message, query_expression="(Subject -like 'travel*') -and (HasAttachment -eq 'false')")
        hits = await root.restore_points.search.post(SearchPostRequestBody(artifact_query=query, **latest))
        assert hits.search_results[0].artifact_hit_count == 1
        part.restore_point, part.search_response_id = model("RestorePoint")(id=hits.search_results[0].restore_point.id), hits.search_response_id
        part.destination_type = in_place
    else:
        browses = w.at(root, "{service}_browse_sessions")
        browse = await browses.post(w.model("{Service}BrowseSession")(restore_point_id=point.id))
        look = root.browse_sessions.by_browse_session_base_id(browse.id)
        item, body = None, BrowsePostRequestBody()
        while not item:
            page = await look.browse.post(body)
            items = page.value
            while page.odata_next_link:
                page = await look.browse_with_next_fetch_token(parse_qs(urlparse(page.odata_next_link).query)["$skiptoken"][0]).get()
                items += page.value
            item = next((i for i in items if i.name == w.file), None)
            into = next((i for i in items if i.type.value in ("site", "documentLibrary")), None)
            assert item or into, f"{w.file} is not in the backup"
            if not item:
                body = BrowsePostRequestBody(browse_location_item_key=into.item_key, browse_resource_type=model("BrowseQueryResponseItemType")(into.type.value))
        for by in (lambda id: w.one(browses, "{service}_browse_session", id), root.browse_sessions.by_browse_session_base_id):
            gone = await browses.post(w.model("{Service}BrowseSession")(restore_point_id=point.id))
            await by(gone.id).delete()
        part.browse_session_id, part.id = browse.id, item.item_key
    some = await run(await sessions.post(session(**{w.granular: [part]})))
    parts = (await getattr(of(some.id), w.granular).get()).value
    assert [a.status for a in parts] == ["succeeded"], parts

    # All of it; a draft that is changed; and a request by ids.
    whole = await run(await sessions.post(session(**{artifacts: [w.model("{Thing}RestoreArtifact")(restore_point=point, destination_type=in_place)]})))
    assert [a.status for a in (await getattr(of(whole.id), artifacts).get()).value] == ["succeeded"]
    assert any(f.is_file() and f.read_bytes() == w.text.encode() for f in w.folder.iterdir())
    draft = await root.restore_sessions.post(session())
    delta = {f"{w.thing}RestoreArtifacts@delta": [{"restorePoint": {"id": point.id}, "destinationType": "new"}]}
    await of(draft.id).patch(session(additional_data=delta))
    delta[f"{w.thing}RestoreArtifacts@delta"] = []
    await root.restore_sessions.by_restore_session_base_id(draft.id).patch(session(additional_data=delta))
    await of(draft.id).delete()
    draft = await sessions.post(session())
    await root.restore_sessions.by_restore_session_base_id(draft.id).delete()
    bulk = await sessions.post(session())
    request = w.model("{Thing}RestoreArtifactsBulkAdditionRequest")(
        display_name="by id", protection_time_period=latest["protection_time_period"], destination_type=in_place,
        restore_point_preference=latest["restore_point_preference"], **{w.ids: [getattr(unit, w.key)]})
    asked = await getattr(of(bulk.id), requests).post(request)
    await run(bulk)
    await w.one(getattr(of(bulk.id), requests), "{thing}_restore_artifacts_bulk_addition_request", asked.id).delete()
    await getattr(of((await sessions.post(session())).id), requests).post(request)

    # Of this workload, a batch of all that a batch can be of.
    content, ids = BatchRequestContent(), {}
    for name, info in (
        ("list", policies.to_get_request_information()), ("read", mine.to_get_request_information()),
        ("create", policies.to_post_request_information(w.model("{Service}ProtectionPolicy")(display_name="In a batch"))),
        ("change", mine.to_patch_request_information(w.model("{Service}ProtectionPolicy")(display_name="Of a batch"))),
        ("search", root.restore_points.search.to_post_request_information(SearchPostRequestBody(**latest))),
        ("session", sessions.to_post_request_information(session(**{artifacts: [w.model("{Thing}RestoreArtifact")(restore_point=point, destination_type=in_place)]}))),
        ("activate", by_id.activate.to_post_request_information()), ("count", policies.count.to_get_request_information()),
    ):
        item = BatchRequestItem(info, depends_on=[ids["create"]] if name == "change" else None)
        ids[name] = item.id
        content.add_request(item.id, item)
    answer = await client.batch.post(content)
    status = {name: answer.get_response_by_id(id).status for name, id in ids.items()}
    assert status == {"list": 200, "read": 200, "create": 201, "change": 200, "search": 200, "session": 201, "activate": 400, "count": 200}, status

    # The SDK's own word for leaving is what it sends besides.
    leave = w.model("{Service}ProtectionPolicy")(additional_data={f"{w.thing}ProtectionUnits@delta": [{"@removed": {"reason": "changed"}, "id": unit.id}]})
    await mine.patch(leave)

    async def left():
        return (await root.protection_units.by_protection_unit_base_id(unit.id).get()).policy_id is None
    await eventually("the unit has left", left)
    await mine.patch(w.model("{Service}ProtectionPolicy")(additional_data={f"{w.thing}ProtectionUnits@delta": [{("siteId" if w.thing == "site" else "directoryObjectId"): getattr(unit, w.key)}]}))

    async def active():
        return (await by_id.get()).status == "active"
    await eventually("the policy is active", active)
    await by_id.deactivate.post()


async def by_a_person(person: GraphServiceClient):
    root = person.solutions.backup_restore
    policies = root.one_drive_for_business_protection_policies
    policy = await policies.post(model("OneDriveForBusinessProtectionPolicy")(display_name="By a person", drive_protection_units=[
        model("DriveProtectionUnit")(directory_object_id="1fec4e78-bce4-4aaf-ab1b-5451cc387264")]))
    mine = policies.by_one_drive_for_business_protection_policy_id(policy.id)
    unit = (await mine.drive_protection_units.get()).value[0]
    await mine.patch(model("OneDriveForBusinessProtectionPolicy")(additional_data={"driveProtectionUnits@delta": [{"@removed": {"reason": "changed"}, "id": unit.id}]}))
    one = root.protection_units.by_protection_unit_base_id(unit.id)

    async def left():
        return (await one.get()).policy_id is None
    await eventually("the unit has left", left)
    await one.offboard.post()
    await one.cancel_offboard.post()

    app = await root.service_apps.post(model("ServiceApp")())
    control = root.service_apps.by_service_app_id(app.id)
    in_control = await control.activate.post(ActivatePostRequestBody(effective_date_time=datetime.now(timezone.utc) + timedelta(days=10)))
    assert in_control.status == "active"  # at once: no other application is
    await refused("OperationNotAllowed", control.deactivate.post())
    await control.delete()
    await root.service_apps.post(model("ServiceApp")())
    setting = model("EmailNotificationsSetting")(is_enabled=False)
    assert (await root.email_notifications_setting.patch(setting)).is_enabled is False


async def every_builder(client: GraphServiceClient, points):
    stories, answers = set(told), {}

    def note(call, error):
        if answers.get(call, error) is error or error is None:
            answers[call] = error
        return error is None or unserved(error)

    async def sweep(b: BaseRequestBuilder):
        well, ids = True, []
        for verb in ("get", "post", "patch", "put", "delete"):
            if not hasattr(b, verb):
                continue
            call = call_of(RequestInformation(Method[verb.upper()], b.url_template))
            error = None
            try:
                if verb == "get":
                    answer = await b.get()
                    ids = [one.id for one in getattr(answer, "value", None) or [] if getattr(one, "id", None)]
                elif call not in stories:
                    info = RequestInformation(Method[verb.upper()], b.url_template, b.path_parameters)
                    info.set_stream_content(b"{}", "application/json")
                    await b.request_adapter.send_no_response_content_async(info, {"XXX": ODataError})
                    error = AssertionError("it was answered")
            except ODataError as e:
                error = e
            well = note(call, error) and well
        for name, member in inspect.getmembers(type(b)):
            if isinstance(member, property):
                if isinstance(below := getattr(b, name), BaseRequestBuilder):
                    well = await sweep(below) and well
            elif name.startswith("by_") or name.startswith("browse_with"):
                keys = (points if name == "by_restore_point_id" else []) + ids
                some = False
                for id in (keys or [NOBODY])[:25]:
                    if some := await sweep(getattr(b, name)(id)):
                        break
                well = some and well
        return well

    await sweep(client.solutions.backup_restore)
    none = []
    wrong = []
    for call, error in sorted(answers.items()):
        if error is None or call in stories:
            continue
        (none if unserved(error) else wrong).append(call if unserved(error) else f"{call}: {error}")
    assert not wrong, "no story calls these, and they are not refused as unknown:\n" + "\n".join(wrong)
    file = pathlib.Path("unserved.txt")
    if "--update" in sys.argv:
        file.write_text("\n".join(none) + "\n")
    assert file.read_text().split("\n")[:-1] == none, "refused as unknown are:\n" + "\n".join(none)
    print(f"{len(answers) - len(none)} calls of {len(answers)} are answered")


def recorded(client: GraphServiceClient) -> GraphServiceClient:
    adapter = Recorder(client.request_adapter._authentication_provider)
    adapter.base_url = client.request_adapter.base_url
    return GraphServiceClient(request_adapter=adapter)


async def main():
    points = []
    async with ClientSecretCredential(TENANT, APP, SECRET, authority=URL, disable_instance_discovery=True) as credential:
        client = recorded(client_of(credential))
        await client.solutions.backup_restore.enable.post(importlib.import_module(
            "msgraph.generated.solutions.backup_restore.enable.enable_post_request_body").EnablePostRequestBody(app_owner_tenant_id=TENANT))
        for w in WORKLOADS:
            await protect_and_restore(client, w, points)
        person = recorded(client_of(Person()))
        await by_a_person(person)
        await every_builder(person, points)


if __name__ == "__main__":
    asyncio.run(main())
