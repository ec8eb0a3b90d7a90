"""RFC 6962 hashes and proofs, against the recursive definition written down here and the RFC's known values."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.merkle import tree

# The leaves and roots that the reference implementation of Certificate Transparency publishes as test data.
CT_LEAVES = [
    bytes.fromhex(x)
    for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries):
    """MTH as RFC 6962 section 2.1 defines it."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m, entries):
    """PATH(m, D[n]) as RFC 6962 section 2.1.1 defines it."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def proof(m, entries):
    """PROOF(m, D[n]) as RFC 6962 section 2.1.2 defines it."""

    def subproof(m, entries, whole):
        if m == len(entries):
            return [] if whole else [mth(entries)]
        k = 1
        while k * 2 < len(entries):
            k *= 2
        if m <= k:
            return [*subproof(m, entries[:k], whole), mth(entries[k:])]
        return [*subproof(m - k, entries[k:], False), mth(entries[:k])]

    return subproof(m, entries, True)


def entries(n):
    return [b"entry %d" % i for i in range(n)]


def subtrees(things):
    return tree.subtrees_of([tree.leaf_hash(e) for e in things])


def test_roots_are_those_of_the_reference_test_data():
    """Eight leaves of the Certificate Transparency test data give its published roots."""
    for n, expected in enumerate(CT_ROOTS):
        assert tree.root(n, subtrees(CT_LEAVES[:n])).hex() == expected
        assert mth(CT_LEAVES[:n]).hex() == expected


def test_a_leaf_cannot_pass_for_an_inner_node():
    """Leaf and node hashes are domain-separated."""
    a, b = tree.leaf_hash(b"a"), tree.leaf_hash(b"b")
    assert tree.leaf_hash(a + b) != tree.node_hash(a, b)


@pytest.mark.parametrize("n", range(1, 40))
def test_every_root_and_proof_equals_the_definition(n):
    """For every tree up to 39 leaves, root, inclusion and consistency proofs are the RFC's, and they check."""
    things = entries(n)
    root = mth(things)
    assert tree.root(n, subtrees(things)) == root
    for m in range(n):
        found = tree.inclusion_proof(m, n, subtrees(things))
        assert found == path(m, things)
        assert tree.inclusion_holds(m, n, tree.leaf_hash(things[m]), found, root)
    for m in range(1, n + 1):
        found = tree.consistency_proof(m, n, subtrees(things))
        assert found == proof(m, things)
        assert tree.consistency_holds(m, n, mth(things[:m]), root, found)
    assert tree.consistency_proof(0, n, subtrees(things)) == []
    assert tree.consistency_holds(0, n, tree.EMPTY_ROOT, root, [])


@given(st.integers(1, 200), st.data())
def test_nothing_but_the_right_proof_checks(n, data):
    """A proof with a changed, missing, added or swapped hash, another index, size, leaf or root does not check."""
    m = data.draw(st.integers(0, n - 1))
    things = entries(n)
    root, leaf = mth(things), tree.leaf_hash(things[m])
    good = tree.inclusion_proof(m, n, subtrees(things))
    assert not tree.inclusion_holds(m, n, tree.leaf_hash(b"other"), good, root)
    assert not tree.inclusion_holds(m, n, leaf, good, mth([*things, b"more"]))
    assert not tree.inclusion_holds(m, n, leaf, [*good, root], root)
    assert not tree.inclusion_holds(n, n, leaf, good, root)
    assert not tree.inclusion_holds(-1, n, leaf, good, root)
    if good:
        at = data.draw(st.integers(0, len(good) - 1))
        assert not tree.inclusion_holds(m, n, leaf, good[:at] + good[at + 1 :], root)
        assert not tree.inclusion_holds(m, n, leaf, [*good[:at], good[at][:-1], *good[at + 1 :]], root)
        changed = bytes([good[at][0] ^ 1]) + good[at][1:]
        assert not tree.inclusion_holds(m, n, leaf, [*good[:at], changed, *good[at + 1 :]], root)
        for other in range(n):
            if other != m:
                assert not tree.inclusion_holds(other, n, leaf, good, root)


@given(st.integers(1, 120), st.data())
def test_no_consistency_between_trees_that_differ(n, data):
    """A history that was rewritten has no consistency proof among the honest ones and their alterations."""
    m = data.draw(st.integers(1, n))
    things = entries(n)
    altered = [*things[: m - 1], b"rewritten", *things[m:]]
    good = tree.consistency_proof(m, n, subtrees(things))
    forged = tree.consistency_proof(m, n, subtrees(altered))
    old, new, other = mth(things[:m]), mth(things), mth(altered)
    assert not tree.consistency_holds(m, n, old, other, good)
    assert not tree.consistency_holds(m, n, old, other, forged)
    assert not tree.consistency_holds(n + 1, n, old, new, good)
    assert not tree.consistency_holds(m, n, old, new, [*good, new])
    if good:
        assert not tree.consistency_holds(m, n, old, new, good[:-1])
        assert not tree.consistency_holds(m, n, old, new, [])
    if m < n:
        assert not tree.consistency_holds(0, n, old, new, [])


def test_proofs_of_what_is_not_there_are_refused():
    """There is no proof of a leaf past the end, nor of a tree that shrank."""
    with pytest.raises(ValueError):
        tree.inclusion_proof(3, 3, subtrees(entries(3)))
    with pytest.raises(ValueError):
        tree.consistency_proof(4, 3, subtrees(entries(3)))
