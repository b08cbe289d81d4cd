"""A client that was written for HashiCorp Vault's KV version 2, against the dialect that the service speaks of it.

Arguments: address, domain, directory of `kms dev`. Every call of hvac's `secrets.kv.v2` is made, and what it answers is looked at.
"""

import sys

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

address, domain, directory = sys.argv[1:]
clients = f"{directory}/region/clients"
client = hvac.Client(
    url=f"{address}/api/{domain}",
    token="whoever has a certificate needs none",
    cert=(f"{clients}/client-1.crt", f"{clients}/client-1.key"),
    verify=f"{directory}/region/ca.pem",
)
kv = client.secrets.kv.v2
checks = 0


def at(path):
    return {"path": path, "mount_point": "secret"}


def same(what, found, wanted):
    global checks
    checks += 1
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


def refused(what, error, call):
    global checks
    checks += 1
    try:
        answer = call()
    except error:
        return
    sys.exit(f"{what}: answered {answer!r}, not {error.__name__}")


def read(path, **more):
    return kv.read_secret_version(**at(path), raise_on_deleted_version=True, **more)["data"]


kv.configure(max_versions=5, cas_required=False, mount_point="secret")
same("configuration", kv.read_configuration(mount_point="secret")["data"]["max_versions"], 5)

made = kv.create_or_update_secret(**at("app/db"), secret={"user": "u", "word": "one"})["data"]
same("first version", (made["version"], made["destroyed"], made["deletion_time"]), (1, False, ""))
made = kv.create_or_update_secret(**at("app/db"), secret={"user": "u", "word": "two"}, cas=1)["data"]
same("second version", made["version"], 2)
refused("check-and-set", InvalidRequest, lambda: kv.create_or_update_secret(**at("app/db"), secret={"x": 1}, cas=0))
same("newest", read("app/db")["data"], {"user": "u", "word": "two"})
same("by number", read("app/db", version=1)["data"]["word"], "one")
same("patch", kv.patch(**at("app/db"), secret={"word": "three"})["data"]["version"], 3)
same("patched", kv.read_secret(**at("app/db"), raise_on_deleted_version=True)["data"]["data"], {"user": "u", "word": "three"})

kv.update_metadata(**at("app/db"), max_versions=4, cas_required=True, delete_version_after="24h", custom_metadata={"owner": "me"})
metadata = kv.read_secret_metadata(**at("app/db"))["data"]
same("metadata", (metadata["max_versions"], metadata["cas_required"], metadata["custom_metadata"]), (4, True, {"owner": "me"}))
same("versions", sorted(metadata["versions"]), ["1", "2", "3"])
refused("check-and-set is required", InvalidRequest, lambda: kv.create_or_update_secret(**at("app/db"), secret={"x": 1}))
same("list", kv.list_secrets(**at("app"))["data"]["keys"], ["db"])
same("list of folders", kv.list_secrets(**at(""))["data"]["keys"], ["app/"])

kv.delete_latest_version_of_secret(**at("app/db"))
refused("deleted", InvalidPath, lambda: read("app/db"))
kv.undelete_secret_versions(**at("app/db"), versions=[3])
same("undeleted", read("app/db")["data"]["word"], "three")
kv.delete_secret_versions(**at("app/db"), versions=[1])
refused("deleted by number", InvalidPath, lambda: read("app/db", version=1))
kv.destroy_secret_versions(**at("app/db"), versions=[1, 2])
states = kv.read_secret_metadata(**at("app/db"))["data"]["versions"]
same("destroyed", [states[number]["destroyed"] for number in ("1", "2", "3")], [True, True, False])
refused("destroyed for good", InvalidPath, lambda: read("app/db", version=2))
kv.delete_metadata_and_all_versions(**at("app/db"))
refused("gone", InvalidPath, lambda: read("app/db"))
refused("nothing there", InvalidPath, lambda: kv.list_secrets(**at("app")))
print(f"{checks} checks")
