"""Reading a log for people: the record that is asked for, and no other that speaks of it."""

import datetime as dt

import pytest

from audit_proxy.core import record as audit_record
from audit_proxy.wiring.log import LogReader, RecordNotFound
from tests.integration.test_log_verify import opened, record, write_as_one_segment


async def test_an_id_finds_the_record_that_has_it(tmp_path):
    """Records that mention the id in what they acted on, before and after, and lines that are no records, are passed by."""
    wanted = audit_record.decode(record(9)).id
    log = await opened(tmp_path / "log")
    log.append(record(7, target={"id": wanted}))
    log.append(b'{"id":"' + wanted.encode() + b'"}')
    log.append(b'{"id":"' + wanted.encode() + b'","a":' + b"[" * 5000 + b"]" * 5000 + b"}")
    log.append(record(9))
    log.append(record(10, target={"id": wanted}))
    await log.close()
    reader = LogReader(tmp_path / "log")
    assert reader.find(wanted) == (3, record(9))
    with pytest.raises(RecordNotFound):
        reader.find(wanted[:-1])


async def test_an_id_of_several_records_finds_the_outcome(tmp_path):
    """A write's intent has its outcome's id; where the outcome was lost, the intent is found."""
    wanted = audit_record.decode(record(9)).id
    log = await opened(tmp_path / "log")
    log.append(record(9, phase="intent"))
    await log.close()
    assert LogReader(tmp_path / "log").find(wanted) == (0, record(9, phase="intent"))
    log = await opened(tmp_path / "log")
    log.append(record(9))
    await log.close()
    assert LogReader(tmp_path / "log").find(wanted) == (1, record(9))


async def test_what_was_written_since_is_read_without_the_segments_before(tmp_path):
    """From the segment on in which that moment lies; what stands before it in that one comes as well."""
    log = tmp_path / "log"
    for start in (0, 3, 6):
        await write_as_one_segment(log, start, start + 3)
    moments = [audit_record.decode(record(n)).ts for n in range(9)]
    reader = LogReader(log)
    for moment, first in ((moments[4], 3), (moments[3], 3), (moments[8], 6), (moments[0], 0)):
        assert [number for number, _ in reader.since(moment)] == [*range(first, 9)]
    assert [number for number, _ in reader.since(moments[0] - dt.timedelta(days=1))] == [*range(9)]
