"""Credentials as the middleware checks them."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.authenticate import Authenticator
from mc_platform.errors import NotAuthenticated
from mc_platform.model.credential import Found
from mc_platform.model.tenant import PLATFORM, Principal

KEY = "0123456789ab"
SECRET = "S" * 43
TOKEN = f"mc_{KEY}_{SECRET}"
PRINCIPAL = Principal("agent@tenant-001", "TENANT_001", KEY)


class MemoryDirectory:
    """Credentials in memory; counts look-ups."""

    def __init__(self):
        self.rows = {KEY: Found(hashlib.sha256(SECRET.encode()).digest(), PRINCIPAL)}
        self.looked = 0

    async def find(self, key_id):
        self.looked += 1
        return self.rows.get(key_id)


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def directory():
    return MemoryDirectory()


@pytest.fixture
def authenticator(directory, clock):
    return Authenticator(
        directory=directory, tenants=["TENANT_001"], cache_s=5, monotonic=lambda: clock[0]
    )


async def test_a_valid_token_gives_its_principal(authenticator):
    """The tenant comes from the credential."""
    assert await authenticator.authenticate(f"Bearer {TOKEN}") == PRINCIPAL
    assert await authenticator.authenticate(f"bearer  {TOKEN} ") == PRINCIPAL


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer mc_{KEY}_{'T' * 43}",
        f"Bearer mc_{'f' * 12}_{SECRET}",
    ],
)
async def test_everything_else_is_refused_alike(authenticator, header):
    """The message is the same whatever was wrong, and holds nothing of the header."""
    with pytest.raises(NotAuthenticated, match=r"^the credential is missing or not valid$"):
        await authenticator.authenticate(header)


async def test_a_revoked_credential_works_no_longer_than_the_cache(authenticator, directory, clock):
    """Five seconds is the most that a revocation lags."""
    await authenticator.authenticate(f"Bearer {TOKEN}")
    directory.rows.clear()
    assert await authenticator.authenticate(f"Bearer {TOKEN}") == PRINCIPAL
    clock[0] = 5.1
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(f"Bearer {TOKEN}")


async def test_every_refusal_looks_the_key_up_once(authenticator, directory):
    """A wrong secret of a credential in use takes the same way as an unknown one."""
    await authenticator.authenticate(f"Bearer {TOKEN}")
    for wrong in (f"mc_{KEY}_{'T' * 43}", f"mc_{'e' * 12}_{SECRET}"):
        directory.looked = 0
        with pytest.raises(NotAuthenticated):
            await authenticator.authenticate(f"Bearer {wrong}")
        assert directory.looked == 1


async def test_a_secret_that_was_changed_works_at_once(authenticator, directory):
    """The cache keeps nobody out."""
    await authenticator.authenticate(f"Bearer {TOKEN}")
    directory.rows[KEY] = Found(hashlib.sha256(b"N" * 43).digest(), PRINCIPAL)
    assert await authenticator.authenticate(f"Bearer mc_{KEY}_{'N' * 43}") == PRINCIPAL


async def test_unknown_keys_are_not_cached(authenticator, directory):
    """A flood of unknown keys cannot fill the cache; a new credential works at once."""
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(f"Bearer mc_{'e' * 12}_{SECRET}")
    directory.rows["e" * 12] = directory.rows[KEY]
    assert await authenticator.authenticate(f"Bearer mc_{'e' * 12}_{SECRET}") == PRINCIPAL


async def test_a_credential_is_not_kept_past_its_end(authenticator, directory, clock):
    """The cache holds 5 s; a credential that ends in 2 s is looked up again after 2 s."""
    directory.rows[KEY] = dataclasses.replace(directory.rows[KEY], valid_for_s=2.0)
    await authenticator.authenticate(f"Bearer {TOKEN}")
    del directory.rows[KEY]
    clock[0] = 1.9
    await authenticator.authenticate(f"Bearer {TOKEN}")
    clock[0] = 2.1
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(f"Bearer {TOKEN}")


async def test_a_forgotten_credential_is_looked_up_at_once(authenticator, directory):
    """Whoever revokes a credential at this replica waits for no cache."""
    await authenticator.authenticate(f"Bearer {TOKEN}")
    del directory.rows[KEY]
    authenticator.forget(KEY)
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(f"Bearer {TOKEN}")


def _of(tenant):
    return Found(
        hashlib.sha256(SECRET.encode()).digest(), dataclasses.replace(PRINCIPAL, tenant=tenant)
    )


async def test_a_credential_of_a_tenant_that_is_not_declared_is_refused_like_a_wrong_one(
    authenticator, directory
):
    """Also the second time; and only with the right secret is it known whose it was."""
    directory.rows[KEY] = _of("TENANT_009")
    for _ in range(2):
        with pytest.raises(
            NotAuthenticated, match=r"^the credential is missing or not valid$"
        ) as e:
            await authenticator.authenticate(f"Bearer {TOKEN}")
        assert e.value.strayed == _of("TENANT_009").principal
        assert "TENANT_009" not in str(e.value.as_dict())
        assert authenticator.known(f"Bearer {TOKEN}") is None
    with pytest.raises(NotAuthenticated) as e:
        await authenticator.authenticate(f"Bearer mc_{KEY}_{'T' * 43}")
    assert e.value.strayed is None


async def test_a_credential_that_was_refused_for_its_tenant_works_as_soon_as_it_has_another(
    authenticator, directory
):
    """No refusal is kept."""
    directory.rows[KEY] = _of("TENANT_009")
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(f"Bearer {TOKEN}")
    directory.rows[KEY] = _of("TENANT_001")
    assert await authenticator.authenticate(f"Bearer {TOKEN}") == PRINCIPAL


async def test_the_platforms_own_credentials_need_no_tenant_of_the_catalogue(
    authenticator, directory
):
    """Operators are asked for by role."""
    directory.rows[KEY] = _of(PLATFORM)
    assert (await authenticator.authenticate(f"Bearer {TOKEN}")).tenant == PLATFORM


@given(st.text(max_size=120))
async def test_no_text_crashes_the_door(text):
    """Any header is either a valid credential or refused."""
    with pytest.raises(NotAuthenticated):
        await Authenticator(directory=MemoryDirectory(), tenants=(), cache_s=0).authenticate(text)
