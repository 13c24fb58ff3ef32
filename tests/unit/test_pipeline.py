"""The mock pipeline, run as the program that it is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

PROGRAM = Path(__file__).parents[2] / "actors" / "pipeline.py"
RUN = "2018-07-19T07:10:03.781"
DIRECTORY = "2015.1.00657.S_2018_07_19T07_10_03.781"
ARGUMENTS = ("2015.1.00657.S", "uid://X1/X1/Xc1", "EU")


@pytest.fixture
def pipeline(tmp_path):
    def run(*arguments, **environ):
        environ = {"DRW_PACE": "0", "DRW_RUN_TIMESTAMP": RUN, **environ, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-I", str(PROGRAM), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False
        )

    return run


def test_leaves_the_tree_of_the_seed(pipeline, tmp_path):
    ended = pipeline(*ARGUMENTS, "--failure-rate", "0")
    assert (ended.returncode, ended.stderr) == (0, "")
    products = tmp_path / DIRECTORY / "SOUS/GOUS/uid___X1_X1_Xc1/products"
    stem = f"X1-X1-Xc1-{RUN}"
    assert sorted(path.name for path in products.iterdir()) == [
        f"pl-report-{stem}.xml",
        *(f"product-{number}-{stem}.data" for number in range(5)),
        f"weblog-{stem}.zip",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [DIRECTORY]
    assert all(path.stat().st_size > 1000 for path in products.iterdir())


def test_report_and_weblog_tell_the_same(pipeline, tmp_path):
    pipeline(*ARGUMENTS, "--failure-rate", "0", DRW_RECIPE="PipelineSingleDish")
    products = tmp_path / DIRECTORY / "SOUS/GOUS/uid___X1_X1_Xc1/products"
    root = ET.parse(next(products.glob("*.xml"))).getroot()
    assert [child.tag for child in root] == ["ProjectStructure", "QaSummary", "QaPerStage", "QaPerTopic"]
    assert root.findtext("ProjectStructure/ProcessingProcedure") == "PipelineSingleDish"
    stages = root.findall("QaPerStage/Stage")
    assert 10 <= len(stages) <= 30
    page = zipfile.ZipFile(next(products.glob("*.zip"))).read("index.html").decode()
    assert root.findtext("QaSummary/FinalScore") in page
    assert all(stage.get("Name") in page and stage[0].get("Score") in page for stage in stages)
    assert "<script" not in page
    assert "http" not in page


def test_scores_differ_from_run_to_run_and_repeat_with_a_seed(pipeline, tmp_path):
    def report(run, seed):
        assert pipeline(*ARGUMENTS, "--failure-rate", "0", "--seed", seed, DRW_RUN_TIMESTAMP=run).returncode == 0
        (found,) = tmp_path.rglob("pl-report*.xml")
        text = found.read_text(encoding="utf-8").partition("<QaPerStage>")[2]
        shutil.rmtree(next(tmp_path.iterdir()))
        return text

    first = report(RUN, "7")
    assert report(RUN, "7") == first
    assert report("2018-07-19T07:10:03.782", "7") != first
    assert report(RUN, "8") != first


def test_a_processing_problem_is_status_3_and_leaves_nothing(pipeline, tmp_path):
    ended = pipeline(*ARGUMENTS, "--failure-rate", "1")
    assert ended.returncode == 3
    assert "processing problem in stage" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_makes_its_own_timestamp(pipeline, tmp_path):
    assert pipeline(*ARGUMENTS, "--failure-rate", "0", DRW_RUN_TIMESTAMP="").returncode == 0
    (made,) = tmp_path.iterdir()
    assert made.name.startswith("2015.1.00657.S_2")


def test_refuses_to_touch_an_existing_products_directory(pipeline, tmp_path):
    (tmp_path / DIRECTORY).mkdir()
    ended = pipeline(*ARGUMENTS, "--failure-rate", "0")
    assert ended.returncode == 1
    assert DIRECTORY in ended.stderr
    assert list((tmp_path / DIRECTORY).iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "named"),
    [
        (("../x", "uid://X1/X1/Xc1", "EU"), {}, "'../x' is not a program id"),
        (("2015.1.00657.S", "uid://X1/X1", "EU"), {}, "'uid://X1/X1' is not an OUS UID"),
        (("2015.1.00657.S", "uid://X1/X1/Xc1", "UK"), {}, "UK"),
        ((*ARGUMENTS, "--failure-rate", "2"), {}, "'2' is not a rate"),
        (ARGUMENTS, {"DRW_RUN_TIMESTAMP": "2018-13-19T07:10:03.781"}, "DRW_RUN_TIMESTAMP"),
        (ARGUMENTS, {"DRW_RECIPE": "a/b"}, "DRW_RECIPE"),
        (ARGUMENTS, {"DRW_PACE": "nan"}, "DRW_PACE"),
    ],
)
def test_bad_arguments_are_status_2_and_name_the_value(pipeline, tmp_path, arguments, environ, named):
    ended = pipeline(*arguments, **environ)
    assert ended.returncode == 2
    assert named in ended.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
