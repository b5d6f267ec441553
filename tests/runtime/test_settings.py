import base64
from pathlib import Path

import pytest

from runtime.settings import (
    SECTIONS,
    Api,
    Database,
    Keys,
    OperatorDatabase,
    Reconciliation,
    SettingsError,
    Temporal,
    Webhooks,
    Worker,
    describe,
    load,
)

KEY = base64.b64encode(bytes(range(32))).decode()
URL = "postgresql+asyncpg://tolem_app:hunter2@127.0.0.1:5432/tolem"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
FULL = {
    "TOLEM_DATABASE_URL": URL,
    "TOLEM_SEAL_KEYS": f"k1:{KEY}",
    "TOLEM_PAYLOAD_KEYS": f"k1:{KEY}",
    "TOLEM_CODEC_TOKEN": "t" * 24,
    "TOLEM_PUBLIC_URL": "https://pay.example.kz/",
}


def problems(environ: dict[str, str], *sections: type) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(*sections, environ=environ)
    return {problem.name: problem.advice for problem in caught.value.problems}


def test_defaults_and_values_arrive_typed() -> None:
    settings = load(Database, Api, Worker, environ={**FULL, "TOLEM_API_PORT": "8443"})
    assert settings[Database].pool == 10
    assert settings[Database].url.reveal() == URL
    assert settings[Api].port == 8443
    assert settings[Api].public_url == "https://pay.example.kz"
    assert settings[Api].temporal_ui_origin is None
    assert settings[Worker].sandbox is True


def test_every_problem_is_reported_at_once_with_its_name() -> None:
    found = problems(
        {"TOLEM_API_PORT": "http", "TOLEM_SEAL_KEYS": "k1:c2hvcnQ=", "TOLEM_DATABASE_POOL": "0"},
        Database,
        Keys,
        Api,
    )
    assert set(found) == {
        "TOLEM_DATABASE_URL",
        "TOLEM_DATABASE_POOL",
        "TOLEM_SEAL_KEYS",
        "TOLEM_PAYLOAD_KEYS",
        "TOLEM_CODEC_TOKEN",
        "TOLEM_API_PORT",
        "TOLEM_PUBLIC_URL",
    }
    assert "whole number from 0 to 65535" in found["TOLEM_API_PORT"]
    assert "32" in found["TOLEM_SEAL_KEYS"]


def test_a_typo_names_the_closest_setting_even_of_a_section_not_asked_for() -> None:
    found = problems({**FULL, "TOLEM_WORKER_SANDBX": "false"}, Database)
    assert found == {"TOLEM_WORKER_SANDBX": "is not a setting; did you mean TOLEM_WORKER_SANDBOX?"}


def test_settings_of_other_sections_and_other_programs_are_no_problem() -> None:
    load(Database, environ={**FULL, "TOLEM_API_PORT": "not read here", "PATH": "/bin", "TOLEMX": "1"})


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(URL + "\n")
    settings = load(Database, environ={"TOLEM_DATABASE_URL_FILE": str(path)})
    assert settings[Database].url.reveal() == URL


def test_secret_files_that_contradict_or_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(URL)
    both = problems({"TOLEM_DATABASE_URL": URL, "TOLEM_DATABASE_URL_FILE": str(path)}, Database)
    assert "set twice" in both["TOLEM_DATABASE_URL"]
    missing = problems({"TOLEM_DATABASE_URL_FILE": str(tmp_path / "none")}, Database)
    assert "No such file" in missing["TOLEM_DATABASE_URL_FILE"]
    path.write_text("\n")
    empty = problems({"TOLEM_DATABASE_URL_FILE": str(path)}, Database)
    assert "empty" in empty["TOLEM_DATABASE_URL_FILE"]


def test_only_secrets_have_files() -> None:
    found = problems({**FULL, "TOLEM_DATABASE_POOL_FILE": "/x"}, Database)
    assert found == {"TOLEM_DATABASE_POOL_FILE": "only secrets come from files; set TOLEM_DATABASE_POOL itself"}


def test_empty_means_not_set() -> None:
    assert load(Database, environ={**FULL, "TOLEM_DATABASE_POOL": " "})[Database].pool == 10
    assert "TOLEM_DATABASE_URL" in problems({"TOLEM_DATABASE_URL": ""}, Database)


@pytest.mark.parametrize("section", SECTIONS)
def test_no_secret_reaches_a_repr(section: type) -> None:
    environ = {
        **FULL,
        "TOLEM_OPERATOR_DATABASE_URL": URL,
        "TOLEM_OWNER_DATABASE_URL": URL,
        "TOLEM_TEMPORAL_API_KEY": "hunter2",
        "TOLEM_TEMPORAL_TLS": "true",
        "TOLEM_TEMPORAL_CLIENT_CERT": PEM,
        "TOLEM_TEMPORAL_CLIENT_KEY": PEM,
    }
    settings = load(section, environ=environ)
    shown = f"{settings!r} {settings[section]!r} {settings[section]}"
    for hidden in ("hunter2", KEY, "t" * 24, "MIIB"):
        assert hidden not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOLEM_DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("TOLEM_DATABASE_URL", "postgresql://root:hunter2@db"),
        ("TOLEM_OPERATOR_DATABASE_URL", "hunter2"),
        ("TOLEM_SEAL_KEYS", "hunter2"),
        ("TOLEM_SEAL_KEYS", "k1:hunter2"),
        ("TOLEM_PAYLOAD_KEYS", f"k1:{KEY},k1:{KEY}"),
        ("TOLEM_CODEC_TOKEN", "hunter2"),
        ("TOLEM_TEMPORAL_CLIENT_CERT", "hunter2"),
    ],
)
def test_a_malformed_secret_is_refused_without_being_repeated(name: str, value: str) -> None:
    environ = {**FULL, "TOLEM_OPERATOR_DATABASE_URL": URL, name: value}
    with pytest.raises(SettingsError) as caught:
        load(Database, OperatorDatabase, Keys, Temporal, environ=environ)
    assert [problem.name for problem in caught.value.problems] == [name]
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_temporal_credentials_need_tls_and_each_other() -> None:
    assert "TOLEM_TEMPORAL_TLS" in problems({"TOLEM_TEMPORAL_API_KEY": "k"}, Temporal)
    half = problems({"TOLEM_TEMPORAL_TLS": "true", "TOLEM_TEMPORAL_CLIENT_CERT": PEM}, Temporal)
    assert "TOLEM_TEMPORAL_CLIENT_KEY" in half


def test_the_issue_window_ends_before_the_answer() -> None:
    found = problems({**FULL, "TOLEM_ISSUE_WINDOW_SECONDS": "10"}, Api)
    assert set(found) == {"TOLEM_ISSUE_WINDOW_SECONDS"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOLEM_PUBLIC_URL", "pay.example.kz"),
        ("TOLEM_PUBLIC_URL", "https://user:pass@pay.example.kz"),
        ("TOLEM_PUBLIC_URL", "https://pay.example.kz:port"),
        ("TOLEM_TEMPORAL_UI_ORIGIN", "http://127.0.0.1:8233/namespaces"),
        ("TOLEM_ISSUE_WINDOW_SECONDS", "0"),
        ("TOLEM_ISSUE_WINDOW_SECONDS", "nan"),
        ("TOLEM_API_PORT", "65536"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: str) -> None:
    assert set(problems({**FULL, name: value}, Api)) == {name}


@pytest.mark.parametrize("value", ["7233", "temporal", "http://temporal:7233", "temporal:0", "temporal:99999"])
def test_an_address_is_host_and_port(value: str) -> None:
    assert set(problems({"TOLEM_TEMPORAL_ADDRESS": value}, Temporal)) == {"TOLEM_TEMPORAL_ADDRESS"}


@pytest.mark.parametrize(("value", "meant"), [("TRUE", True), ("0", False), ("off", False), ("yes", True)])
def test_flags(value: str, meant: bool) -> None:
    assert load(Worker, environ={"TOLEM_WORKER_SANDBOX": value})[Worker].sandbox is meant


@pytest.mark.parametrize(("value", "meant"), [("03:30", (3, 30)), ("00:00", (0, 0)), ("23:59", (23, 59))])
def test_a_time_of_day(value: str, meant: tuple[int, int]) -> None:
    assert load(Reconciliation, environ={"TOLEM_RECONCILE_AT": value})[Reconciliation].at == meant


@pytest.mark.parametrize("value", ["3:30", "24:00", "03:60", "03.30", "night"])
def test_what_is_no_time_of_day(value: str) -> None:
    assert "such as 03:30" in problems({"TOLEM_RECONCILE_AT": value}, Reconciliation)["TOLEM_RECONCILE_AT"]


def test_a_flag_is_never_guessed() -> None:
    assert "TOLEM_WORKER_SANDBOX" in problems({"TOLEM_WORKER_SANDBOX": "nope"}, Worker)


def waits(value: str) -> tuple[int, ...]:
    return load(Webhooks, environ={"TOLEM_WEBHOOK_SCHEDULE_SECONDS": value})[Webhooks].schedule_seconds


def test_the_default_webhook_schedule_ends_within_thirty_days() -> None:
    schedule = load(Webhooks, environ={})[Webhooks].schedule_seconds
    assert schedule[:11] == (5, 30, 120, 600, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert set(schedule[11:]) == {86400}
    thirty_days = 30 * 86400
    assert thirty_days - 86400 < sum(schedule) <= thirty_days


def test_webhook_schedules_of_ones_own() -> None:
    assert waits("1, 2,3") == (1, 2, 3)
    assert waits("daily") == (86400,) * 30
    for wrong in ("", "daily,5", "0", "-1", "1.5", "5,,6", f"{30 * 86400},1"):
        environ = {"TOLEM_WEBHOOK_SCHEDULE_SECONDS": wrong or ","}
        assert set(problems(environ, Webhooks)) == {"TOLEM_WEBHOOK_SCHEDULE_SECONDS"}


def test_allowed_hosts_are_a_list() -> None:
    environ = {"TOLEM_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1, LOCALHOST:8080,"}
    assert load(Webhooks, environ=environ)[Webhooks].allowed_hosts == ("127.0.0.1", "localhost:8080")


def served(value: str) -> tuple[str, ...]:
    return load(Worker, environ={"TOLEM_WORKER_QUEUES": value})[Worker].queues


def test_a_worker_serves_every_queue_or_those_that_are_named() -> None:
    assert served("") == ("workflows", "kaspi", "watch", "webhooks", "deliveries")
    assert served("Deliveries, webhooks,deliveries") == ("webhooks", "deliveries")
    for wrong in (",", "all", "webhooks,tolem-kaspi"):
        assert set(problems({"TOLEM_WORKER_QUEUES": wrong}, Worker)) == {"TOLEM_WORKER_QUEUES"}


def test_the_description_lists_each_setting_once_and_its_defaults_are_valid() -> None:
    rows = describe()
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert all(row.help and row.section for row in rows)
    assert {row.default for row in rows if row.name in FULL} == {"(required)"}
    spelled_out = {row.name: row.default for row in rows if not row.default.startswith("(")}
    required = {**FULL, "TOLEM_OPERATOR_DATABASE_URL": URL, "TOLEM_OWNER_DATABASE_URL": URL}
    given = load(*SECTIONS, environ={**required, **spelled_out})
    implied = load(*SECTIONS, environ=required)
    assert [given[section] for section in SECTIONS if section is not Keys] == [
        implied[section] for section in SECTIONS if section is not Keys
    ]
