"""All settings, in one model: defaults, then `tidegate.yml`, then TIDEGATE_* variables, then flags.

Durations are seconds as written by people; `*_us` properties give the engine its microseconds.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

CONFIG_FILE = Path("tidegate.yml")
#: Seconds: the shortest `history` but none.
HISTORY_LEAST = 3_600


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TIDEGATE_", yaml_file=CONFIG_FILE, extra="forbid", frozen=True, validate_default=True
    )

    definitions: Path = Field(Path("segment_defs"), description="folder of *.sql and schema.yml")
    database_url: SecretStr = Field(SecretStr("postgresql://localhost/tidegate"), description="PostgreSQL 15 or later")
    storage_url: Path = Field(
        Path(".tidegate/storage"), description="saved states and older events; a folder that every process reaches"
    )

    kafka: str = Field("localhost:9092", description="bootstrap servers, comma separated")
    kafka_options: dict[str, str] = Field(default_factory=dict, description="further librdkafka options (TLS, SASL)")
    events_topic: str = "events"
    profiles_topic: str = Field("profiles", description="compacted; a record without a value erases its user")
    transitions_topic: str = "segment-transitions"
    dead_letter_topic: str = "events-dead-letter"
    relay: Literal["auto", "transactions", "at_least_once"] = Field(
        "auto", description="how messages are sent: each once by Kafka transactions, or repeated after a crash"
    )

    clock: Literal["live", "event"] = Field("live", description="event: nothing follows the wall clock (old files)")
    lateness: float = Field(0.25, ge=0, description="seconds the watermark stays behind the newest event")
    idle_after: float = Field(0.25, gt=0, description="seconds without a message until a partition counts as idle")
    max_skew: float = Field(300, ge=0, description="seconds an event may be ahead of its Kafka timestamp")
    dedupe_horizon: float = Field(7 * 86_400, gt=0, description="seconds; older events are refused (clock live)")
    retention: float = Field(0, ge=0, description="seconds; events are kept so long at least, whatever the windows")
    history: float = Field(
        0, ge=0, description="seconds that transitions are kept for watchers and SQL, 3600 or more; 0: for ever"
    )
    guard: float = Field(
        0, ge=0, description="percent of a segment's members; what would flip more of them is held; 0: nothing is"
    )
    guard_outage: float = Field(
        300, ge=0, description="seconds without a message on a partition that had some; what time does then is guarded"
    )
    shards: int = Field(4, ge=1, le=1024, description="most workers of an engine; changed by `tidegate reshard`")
    poll_rows: int = Field(20_000, ge=1, le=1_000_000, description="most messages of one poll")
    checkpoint_every: float = Field(
        30, gt=0, description="seconds between state checkpoints; of very many users up to ten times as much, so that "
        "saving takes 5% of a core at most. What came since is run again after a crash",
    )  # fmt: skip

    audit_every: float = Field(60, ge=0, description="seconds between two rounds of the audit; 0: none")
    audit_users: int = Field(100, ge=1, description="users that one round of the audit evaluates again")

    grpc_listen: str = "127.0.0.1:50051"
    grpc_tls_cert: Path | None = None
    grpc_tls_key: Path | None = None
    grpc_tokens: dict[SecretStr, Literal["read", "admin"]] = Field(default_factory=dict)
    grpc_reflection: bool = True
    grpc_insecure: bool = Field(False, description="listen beyond loopback without TLS and tokens: anyone may read")
    grpc_connections: int = Field(8, ge=1, le=1000, description="most database connections of one server, besides two")
    grpc_rate: float = Field(0, ge=0, description="most calls a second of one token, at one server; 0: no limit")
    grpc_cache: bool = Field(False, description="keep the whole membership in the server's memory, for many checks")
    grpc_cache_max_age: float = Field(
        5.0, gt=0, description="seconds that checks are answered from memory after the last news from the database"
    )
    grpc_share_port: bool = Field(
        False, description="several servers of this machine listen on one port; the system deals out connections"
    )
    grpc_drain: float = Field(1.0, ge=0, description="seconds that an ending server says NOT_SERVING and still serves")
    metrics_host: str = "127.0.0.1"
    engine_metrics_port: int = Field(
        9101, ge=0, le=65535, description="0: none; process N of a cluster has this port plus N"
    )
    server_metrics_port: int = Field(
        9201, ge=0, le=65535, description="0: none; process N of `serve --processes` has this port plus N"
    )
    log_format: Literal["text", "json"] = "text"

    @field_validator("history")
    @classmethod
    def _long_enough(cls, given: float) -> float:
        if 0 < given < HISTORY_LEAST:
            raise ValueError(f"must be 0 (for ever) or at least {HISTORY_LEAST:,}: who watches may be away for a while")
        return given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @property
    def lateness_us(self) -> int:
        return round(self.lateness * 1_000_000)

    @property
    def max_skew_us(self) -> int:
        return round(self.max_skew * 1_000_000)

    @property
    def retention_us(self) -> int:
        return round(self.retention * 1_000_000)

    @property
    def guard_outage_us(self) -> int:
        """0: no silence is an outage."""
        return round(self.guard_outage * 1_000_000) if self.clock == "live" else 0

    @property
    def dedupe_horizon_us(self) -> int | None:
        """None with clock "event": there a repeat is found however old it is."""
        return round(self.dedupe_horizon * 1_000_000) if self.clock == "live" else None


def load(**flags: Any) -> Settings:
    """Settings with the given flags on top; a flag that is None was not given."""
    return Settings(**{name: value for name, value in flags.items() if value is not None})
