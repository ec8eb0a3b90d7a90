"""C2SP tlog-tiles: paths, bundles, growth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import tiles, tree


def leaves(n):
    return [tree.leaf_hash(b"%d" % i) for i in range(n)]


def published(n):
    """Every tile of a tree of n leaves, by path, made straight from the definition."""
    found = {}
    below = leaves(n)
    level = 0
    while below:
        for i in range(0, len(below), 256):
            part = below[i : i + 256]
            found[tiles.tile_path(level, i // 256, len(part))] = b"".join(part)
        below = [tree.fold(b"".join(below[i : i + 256])) for i in range(0, len(below) // 256 * 256, 256)]
        level += 1
    return found


def reader(found):
    def read(level, index, width):
        for candidate in (width, 256):
            data = found.get(tiles.tile_path(level, index, candidate))
            if data is not None:
                return data[: width * 32]
        raise LookupError

    return read


def test_paths_are_the_specification_s():
    """The specification's example, and the smallest cases."""
    assert tiles.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.tile_path(63, 0, 1) == "tile/63/000.p/1"
    assert tiles.entries_path(999) == "tile/entries/999"
    assert tiles.entries_path(1000, 255) == "tile/entries/x001/000.p/255"
    for bad in ((64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(ValueError):
            tiles.tile_path(*bad)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_counts():
    """273 full and one partial (112) at level 0, one full and one partial (17) at level 1, one partial (1) at level 2."""
    edge, full = tiles.extend(tiles.Edge(), [bytes(32)] * 70_000)
    assert [sum(t.level == n for t in full) for n in (0, 1, 2)] == [273, 1, 0]
    assert [(t.level, t.width) for t in tiles.partial_tiles(edge)] == [(0, 112), (1, 17), (2, 1)]
    assert [tiles.partial_width(70_000, n) for n in range(4)] == [112, 17, 1, 0]


def test_a_tree_of_256_has_a_full_tile_and_one_hash_above_it():
    """A tree of size 256 is a full level 0 tile and a partial level 1 tile of width 1."""
    edge, full = tiles.extend(tiles.Edge(), leaves(256))
    assert [t.path for t in full] == ["tile/0/000"]
    assert [t.path for t in tiles.partial_tiles(edge)] == ["tile/1/000.p/1"]


@given(st.lists(st.integers(0, 600), max_size=6))
def test_growth_in_any_steps_gives_the_same_tiles_and_root(steps):
    """However the leaves arrive, tiles and root are those of the whole tree, and the edge can be read back from them."""
    total = sum(steps)
    everything = leaves(total)
    edge, files, at = tiles.Edge(), {}, 0
    for step in steps:
        edge, full = tiles.extend(edge, everything[at : at + step])
        at += step
        files.update({t.path: t.hashes for t in full})
        assert tiles.edge_root(edge) == tree.root(at, tree.subtrees_of(everything[:at]))
    files.update({t.path: t.hashes for t in tiles.partial_tiles(edge)})
    assert files == published(total)
    read = tiles.read_edge(total, reader(files))
    assert (read.size, tiles.edge_root(read)) == (total, tiles.edge_root(edge))


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 511, 512, 700, 66_000])
def test_proofs_out_of_tiles_are_those_of_the_tree(n):
    """Inclusion and consistency proofs made from published tiles check against the root."""
    read = reader(published(n))
    subtree = tiles.subtrees_of(n, read)
    root = tree.root(n, subtree)
    assert root == tiles.edge_root(tiles.read_edge(n, read))
    for index in {0, n // 2, n - 1, min(255, n - 1)}:
        proof = tree.inclusion_proof(index, n, subtree)
        assert tree.inclusion_holds(index, n, tree.leaf_hash(b"%d" % index), proof, root)
    for old in {1, n // 2, n - 1, n} - {0}:
        old_root = tiles.edge_root(tiles.extend(tiles.Edge(), leaves(old))[0])
        assert tree.consistency_holds(old, n, old_root, root, tree.consistency_proof(old, n, subtree))


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_round_trip(entries):
    """What a bundle is made of comes back out of it."""
    assert tiles.decode_bundle(tiles.encode_bundle(entries)) == entries


def test_a_bundle_s_entry_has_two_bytes_of_length():
    """The exact bytes, and the largest entry."""
    assert tiles.encode_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"
    assert tiles.decode_bundle(tiles.encode_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(OverflowError):
        tiles.encode_bundle([bytes(65_536)])


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01a\x00", b"\x00\x00" * 257])
def test_malformed_bundles_are_refused(data):
    """Lengths that do not fit, and more than 256 entries, are errors."""
    with pytest.raises(ValueError):
        tiles.decode_bundle(data)
