"""Make the data sets that ship in the package (`scidiff_timeseries.samples`) from the packages that carry them.

    python scripts/make_timeseries_samples.py [--archives FOLDER] [--out FOLDER]

Needs statsmodels, and the source archives of zipline 1.4.1 and tslearn 0.10.0: pip downloads them (and runs their set-up, as it does for
every source archive), unless FOLDER already holds zipline-1.4.1.tar.gz and tslearn-0.10.0.tar.gz. The same bytes come out every time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

import pandas as pd

from scidiff_timeseries import samples

YIELDS = (
    "zipline-1.4.1",
    "zipline/resources/market_data/treasury_curves.csv",
    "3e8e514f057011ae523e82071fcde62dfba70d37bc03c43b6c113c9eceaea4cf",
)
WEATHER = (
    "tslearn-0.10.0",
    "docs/datasets/Q_35_previous-1950-2024_RR-T-Vent.csv.gz",
    "823c499d6958e59e7a0580f75d701ac90f9166481a2505e90c9cddc46d42c7b2",
)
CO2_SHA256 = "16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f"
TENORS = {
    "3month": "3m", "6month": "6m", "1year": "1y", "2year": "2y", "3year": "3y", "5year": "5y", "7year": "7y", "10year": "10y",
}  # fmt: skip
STATIONS = {35228001: "dinard", 35202001: "la_noe_blanche", 35162003: "louvigne_du_desert", 35281001: "rennes"}
"""Number of every station without a missing TN, TX or RR from 1990 to 2024."""


def download(package: str, folder: Path) -> None:
    name, version = package.rsplit("-", 1)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name, "--dest", str(folder), f"{name}=={version}"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"pip could not download {package}.tar.gz; get it by other means and name its folder by --archives")


def member(archives: Path, package: str, path: str, sha256: str) -> bytes:
    """A file of a source archive; anything but the known bytes is refused."""
    with tarfile.open(archives / f"{package}.tar.gz") as archive:
        found = archive.extractfile(f"{package}/{path}")
        assert found is not None
        return checked(found.read(), sha256, f"{package}/{path}")


def checked(data: bytes, sha256: str, name: str) -> bytes:
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise SystemExit(f"{name} has SHA-256 {found}, not {sha256}: this is another version of the data")
    return data


def treasury(raw: bytes) -> pd.DataFrame:
    """Fractions to per cent, the tenors that have no gap."""
    table = pd.read_csv(io.BytesIO(raw))
    ds = table["Time Period"].str.slice(0, 10)
    return pd.concat([ds.rename("ds"), (100 * table[list(TENORS)]).round(2).rename(columns=TENORS)], axis=1)


def stations(raw: bytes) -> pd.DataFrame:
    """TN, TX (degrees Celsius) and RR (mm) of the complete stations, by station and day."""
    columns = ["NUM_POSTE", "AAAAMMJJ", *(flag + name for name in ("TN", "TX", "RR") for flag in ("", "Q"))]
    table = pd.read_csv(io.BytesIO(gzip.decompress(raw)), sep=";", usecols=columns)
    table = table[table["NUM_POSTE"].isin(list(STATIONS)) & table["AAAAMMJJ"].between(19900101, 20241231)]
    if table.isna().any(axis=None) or (table[["QTN", "QTX", "QRR"]] == 2).any(axis=None):  # 2: doubtful, under examination
        raise SystemExit("a station has missing or doubtful values")
    ds = pd.to_datetime(table["AAAAMMJJ"].astype(str)).dt.strftime("%Y-%m-%d")
    table = table.assign(unique_id=table["NUM_POSTE"].map(STATIONS), ds=ds, tn=table["TN"], tx=table["TX"], rr=table["RR"])
    return table[["unique_id", "ds", "tn", "tx", "rr"]].sort_values(["unique_id", "ds"])


def co2(raw: bytes) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(raw))
    ds = pd.to_datetime(table["date"].astype(str)).dt.strftime("%Y-%m-%d")
    return pd.DataFrame({"unique_id": "mauna_loa", "ds": ds, "y": table["co2"]})


def write(table: pd.DataFrame, decimals: int, path: Path) -> None:
    text = table.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n")
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path}: {len(table):,} rows, {path.stat().st_size / 1000:.0f} kB, {hashlib.sha256(path.read_bytes()).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, help="folder of the two source archives; without it, pip downloads them")
    parser.add_argument("--out", type=Path, default=Path(samples.__file__).parent)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        archives = options.archives or Path(scratch)
        if options.archives is None:
            for package in (YIELDS[0], WEATHER[0]):
                download(package, archives)
        write(treasury(member(archives, *YIELDS)), 2, options.out / "treasury.csv.xz")
        write(stations(member(archives, *WEATHER)), 1, options.out / "stations.csv.xz")
    measured = files("statsmodels.datasets.co2").joinpath("co2.csv").read_bytes()
    write(co2(checked(measured, CO2_SHA256, "statsmodels' co2.csv")), 1, options.out / "co2.csv.xz")


if __name__ == "__main__":
    main()
