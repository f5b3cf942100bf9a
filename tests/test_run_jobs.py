import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from latent_map.comparison import executors
from latent_map.comparison.executors import Workers, in_process, process_pool, visible_gpus
from latent_map.comparison.run_jobs import GUILTY, WorkerDiedError, run_jobs

TESTS = Path(__file__).parent


@pytest.fixture
def work(monkeypatch):
    """The jobs' module under a name that other processes can import."""
    monkeypatch.syspath_prepend(TESTS)
    return importlib.import_module("study_files")


def test_jobs_in_this_process_come_in_order(work):
    assert list(run_jobs(range(5), work.double, in_process())) == [(n, 2 * n) for n in range(5)]


def test_no_jobs_are_done_at_once(work):
    assert list(run_jobs([], work.double, in_process())) == []


def test_what_a_job_raises_is_its_outcome(work, tmp_path):
    ((_, outcome),) = run_jobs([(tmp_path, 4)], work.double_or_die, in_process())
    assert isinstance(outcome, ValueError)


def test_a_dying_process_costs_its_own_job_only(work, tmp_path):
    jobs = [(str(tmp_path), number) for number in range(8)]
    with process_pool(2, []) as workers:
        outcomes = {job[1]: outcome for job, outcome in run_jobs(jobs, work.double_or_die, workers)}
    assert len(outcomes) == 8
    assert isinstance(outcomes.pop(3), WorkerDiedError)
    assert isinstance(outcomes.pop(4), ValueError)
    assert outcomes == {number: 2 * number for number in (0, 1, 2, 5, 6, 7)}
    assert len((tmp_path / "3.log").read_text().splitlines()) >= GUILTY
    assert len((tmp_path / "5.log").read_text().splitlines()) >= 2


def test_workers_that_die_whatever_they_begin_end_the_run(work, tmp_path):
    jobs = [(str(tmp_path), 3)] * 20
    with process_pool(2, []) as workers, pytest.raises(WorkerDiedError, match="in a row"):
        list(run_jobs(jobs, work.double_or_die, workers))


def test_at_most_a_window_of_jobs_is_handed_out(work):
    submitted = []

    class Counting(executors.InProcess):
        def submit(self, fn, /, *args, **kwargs):
            submitted.append(args[0])
            return super().submit(fn, *args, **kwargs)

    outcomes = run_jobs(range(100), work.double, Workers(Counting, 4))
    next(outcomes)
    assert submitted == [0, 1, 2, 3]


def test_without_anybody_left_to_work_it_ends_with_words(work, monkeypatch):
    class Silent(executors.InProcess):
        def submit(self, fn, /, *args, **kwargs):
            return executors.Future()

    def check():
        raise RuntimeError("nobody is left")

    monkeypatch.setattr("latent_map.comparison.run_jobs.PULSE", 0.01)
    with pytest.raises(RuntimeError, match="nobody is left"):
        list(run_jobs([1], work.double, Workers(Silent, 1, check)))


def test_each_process_has_a_gpu_of_its_own(work, monkeypatch):
    with process_pool(2, ["4", "7"]) as workers:
        seen = {gpu for _, gpu in run_jobs(range(8), work.claimed_gpu, workers)}
    assert seen == {"4", "7"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_gpus(2) == ["2", "5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ["0", "1"]


def test_processes_of_cpus_share_the_cores(work, monkeypatch):
    monkeypatch.setattr(executors.os, "cpu_count", lambda: 6)
    with process_pool(2, []) as workers:
        assert {n for _, n in run_jobs(range(4), work.threads, workers)} == {"3"}


RUNNER = """
import sys
sys.path.insert(0, {tests!r})
import study_files
from latent_map.comparison.executors import process_pool
from latent_map.comparison.run_jobs import run_jobs
if __name__ == "__main__":
    with process_pool(2, []) as workers:
        for job, pid in run_jobs(range(100), study_files.own_pid_after_a_while, workers):
            print(pid, flush=True)
"""


def test_processes_end_with_their_runner(tmp_path):
    script = tmp_path / "runner.py"
    script.write_text(RUNNER.format(tests=str(TESTS)))
    runner = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    pids = {int(runner.stdout.readline()) for _ in range(6)}
    runner.kill()
    runner.wait()
    end = time.monotonic() + 20
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    import dask

    config = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.worker.daemon": False,
        "distributed.admin.log-format": "",
    }
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    with (
        dask.config.set(config),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={"PYTHONPATH": paths},
        ) as cluster,
    ):
        yield cluster


def test_a_cluster_loses_no_job_when_a_worker_dies(work, tmp_path, dask_cluster):
    jobs = [(str(tmp_path), number) for number in (0, 1, 2, 4, 5, 6, 7)]
    with executors.cluster(dask_cluster.scheduler_address) as workers:
        assert workers.window == 4
        outcomes = {job[1]: outcome for job, outcome in run_jobs(jobs, work.double_or_die, workers)}
    assert isinstance(outcomes.pop(4), ValueError)
    assert outcomes == {number: 2 * number for number in (0, 1, 2, 5, 6, 7)}
    assert len((tmp_path / "5.log").read_text().splitlines()) >= 2


def test_a_cluster_is_given_its_patience_anew_whenever_workers_were_seen(monkeypatch):
    now, there = [0.0], [{"worker": {"nthreads": 1}}]
    monkeypatch.setattr(executors.time, "monotonic", lambda: now[0])

    class Client:
        status = "running"

        def scheduler_info(self, n_workers):
            return {"workers": there[0]}

    workers = executors._cluster_workers(Client(), "tcp://x:1", patience=100)
    for now[0] in (50, 150, 250):  # busy for longer than its patience
        workers.check()
    there[0] = {}
    for now[0] in (260, 340):
        workers.check()
    now[0] = 351
    with pytest.raises(RuntimeError, match="no worker for 100 s"):
        workers.check()


def test_a_cluster_without_workers_is_waited_for_only_so_long(work, dask_cluster):
    dask_cluster.scale(0)
    with (
        pytest.raises(RuntimeError, match="no worker for 1 s"),
        executors.cluster(dask_cluster.scheduler_address, patience=1) as workers,
    ):
        list(run_jobs([1], work.double, workers))


def test_where_no_scheduler_answers_is_said(monkeypatch):
    monkeypatch.setattr(executors, "CONNECTION", 0.5)
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:9", "nonsense", "ftp://x:1", "tcp://"):
        with pytest.raises(ValueError, match="no scheduler answers"), executors.cluster(address):
            pass
