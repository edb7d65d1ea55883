"""Tables of the lakehouse as lists of videos: each row has a column `uri`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rushes.errors import FootageError, MissingExtra
from rushes.media.address import local_path, public_uri
from rushes.media.storage import Options
from rushes.sources.lance_blobs import blob_column, rows_by_blob

if TYPE_CHECKING:
    import pyarrow as pa


def lance(place: str, options: Options) -> tuple[Iterator[Mapping[str, Any]], str]:
    """The rows of a Lance dataset; its version is that of the dataset.

    Without a column `uri`, the first column of blobs says where each video lies: a file, or the bytes that it takes in one.

    Raises:
        MissingExtra: Lance is not installed. FootageError: it cannot be read, or names no videos.
    """
    try:
        import lance as package
    except ImportError as error:
        raise MissingExtra("lance: needs Lance, which is not installed", step="sources", mend="pip install 'rushes[lance]'") from error
    settings = {name: str(value) for name, value in options.get("lance", {}).items()}
    try:
        found: Any = package.dataset(local_path(place) or place, storage_options=settings or None)
        blobs = blob_column(found)
        if blobs is not None:
            names = [one.name for one in found.schema if _light(one.type)]
            return iter(list(rows_by_blob(found, blobs, names, options, public_uri(place)))), str(found.version)
        return _rows(found.to_batches(columns=_listed(found.schema, public_uri(place)))), str(found.version)
    except (ValueError, OSError) as error:
        raise FootageError(f"Lance says: {error}", uri=public_uri(place), mend="check the address; options are [storage.lance]") from error


def iceberg(place: str, options: Options) -> tuple[Iterator[Mapping[str, Any]], str]:
    """The rows of an Iceberg table, named as for `rushes publish`: WAREHOUSE#NAMESPACE.TABLE. Its version is the snapshot.

    Raises:
        MissingExtra: pyiceberg is not installed. FootageError: it cannot be read, or has no column `uri`.
    """
    try:
        from pyiceberg.exceptions import NoSuchTableError, RESTError, ValidationError
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise MissingExtra(
            "iceberg: needs pyiceberg, which is not installed", step="sources", mend="pip install 'rushes[iceberg]'"
        ) from error
    warehouse, _, table = place.partition("#")
    if not table:
        raise FootageError("no table is named", uri=public_uri(place), mend="name it as iceberg:WAREHOUSE#NAMESPACE.TABLE")
    try:
        with _catalog(warehouse, options) as catalog:
            found: Any = catalog.load_table(table)
            snapshot = found.current_snapshot()
            names = _listed(found.schema().as_arrow(), public_uri(warehouse))
            batches = found.scan(selected_fields=tuple(names)).to_arrow_batch_reader() if snapshot is not None else ()
            return iter(list(_rows(batches))), str(snapshot.snapshot_id) if snapshot is not None else ""
    except NoSuchTableError as error:
        raise FootageError(f"there is no table {table}", uri=public_uri(warehouse), mend="check its name") from error
    except (OSError, ValueError, SQLAlchemyError, RESTError, ValidationError) as error:
        mend = "check the address; uri and other options of its catalog are [storage.iceberg]"
        raise FootageError(f"Iceberg says: {error}", uri=public_uri(warehouse), mend=mend) from error


def paimon(place: str, options: Options, python: str | None) -> tuple[Iterator[Mapping[str, Any]], str]:
    """The rows of a Paimon table, named as for `rushes publish`: WAREHOUSE#DATABASE.TABLE. Its version is the snapshot.

    Without a column `uri`, the first column of blobs says where each video lies: a file, or the bytes that it takes in one.

    Raises:
        MissingExtra: no Python with pypaimon is found. StorageError: the table cannot be read. FootageError: it names no videos.
    """
    import tempfile
    from pathlib import Path

    import pyarrow as pa

    from rushes.media.paimon_client import PaimonProcess

    warehouse, _, table = place.rpartition("#")
    if not warehouse or "." not in table:
        raise FootageError("no table is named", uri=public_uri(place), mend="name it as paimon:WAREHOUSE#DATABASE.TABLE")
    path = local_path(warehouse)
    settings = {name: str(value) for name, value in options.get("paimon", {}).items()}
    catalog = {"warehouse": Path(path).as_uri() if path is not None else warehouse, **settings}
    process = PaimonProcess(python, f"paimon:{place}", catalog, table)
    try:
        if not process.ask("held")["there"]:
            raise FootageError(f"there is no table {table}", uri=public_uri(warehouse), mend="check its name")
        with tempfile.TemporaryDirectory(prefix="rushes-paimon-") as folder:
            version = process.ask("listed", into=f"{folder}/rows.arrow")["version"]
            with pa.OSFile(f"{folder}/rows.arrow", "rb") as file, pa.ipc.open_stream(file) as reader:
                rows = reader.read_all()
    finally:
        process.close()
    return _rows(rows.select(_listed(rows.schema, public_uri(warehouse))).to_batches()), version


@contextmanager
def _catalog(warehouse: str, options: Options) -> Iterator[Any]:
    """The catalog of a warehouse, as the target `iceberg:` opens it: `catalog.db` in a local one, else what [storage.iceberg] names. It
    makes none where there is none.
    """
    from pathlib import Path

    from pyiceberg.catalog import load_catalog

    path = local_path(warehouse)
    settings = {"type": "sql", "init_catalog_tables": "false"} | {name: str(value) for name, value in options.get("iceberg", {}).items()}
    if path is not None and "uri" not in settings:
        file = Path(path) / "catalog.db"
        if not file.is_file():
            mend = "check the address, or name the catalog by uri in [storage.iceberg]"
            raise FootageError("there is no Iceberg catalog, the file catalog.db", uri=public_uri(warehouse), mend=mend)
        settings["uri"] = f"sqlite:///{file}"
    folder = Path(path).as_uri() if path is not None else warehouse
    catalog = load_catalog(settings.pop("name", "default"), **settings, warehouse=folder)
    try:
        yield catalog
    finally:
        if engine := getattr(catalog, "engine", None):
            engine.dispose()


def _listed(schema: pa.Schema, shown: str) -> list[str]:
    """The columns that travel with videos: all but those that hold bytes.

    Raises:
        FootageError: there is no column `uri`.
    """
    names = [one.name for one in schema if _light(one.type)]
    if "uri" not in names:
        raise FootageError(f"the table has no column uri; its columns are {', '.join(schema.names)}", uri=shown, mend="name one so")
    return names


def _light(kind: Any) -> bool:
    """Whether values of an Arrow type travel: not bytes, and nothing nested."""
    import pyarrow as pa

    heavy = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (heavy or pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType))


def _rows(batches: Any) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()
