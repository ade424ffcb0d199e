"""Domains are found by entry point, imported when used, and what is wrong with one is told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from scidiff.domain import Domain, ModelInfo, find_domains, load_domain, missing_extra_named, service_of
from scidiff.errors import UserError

SERVICE = """
from scidiff.domain import Answer

class Ask(Config):
    n: int = 1

class Toy:
    @classmethod
    def request_type(cls):
        return Ask

    @classmethod
    def load(cls, weights, device="cpu"):
        return cls()

    def answer(self, request):
        return Answer(request.n / 10, iter([{"toy": number} for number in range(request.n)]))

Toys.service = lambda self: Toy
"""

def test_an_external_plug_in_is_found_without_import_and_keeps_the_contract(install) -> None:
    install()
    assert find_domains()["toys"].origin == "toy_domain_module:DOMAIN of the package toy-domain"
    assert "toy_domain_module" not in sys.modules
    domain = load_domain("toys")
    assert isinstance(domain, Domain)
    assert domain.models() == [ModelInfo("tiny", "a toy", Path("tiny.safetensors"))]
    assert domain.recipe()(size=4).model_dump() == {"domain": "toys", "size": 4, "train": {"steps": 3}}


def test_our_own_domain_keeps_the_contract() -> None:
    assert "molecules" in find_domains()
    domain = load_domain("molecules")
    assert isinstance(domain, Domain)
    assert domain.name == "molecules"


def test_a_plug_in_may_serve_its_models_and_need_not(install) -> None:
    module = install() / "toy_domain_module.py"
    told = r"the domain 'toys' has no service, so its models cannot be served: toy_domain_module:DOMAIN .* lacks"
    with pytest.raises(UserError, match=told):
        service_of("toys")
    module.write_text(module.read_text() + SERVICE)
    del sys.modules["toy_domain_module"]
    importlib.invalidate_caches()
    service = service_of("toys")
    answer = service.load(Path("tiny.safetensors")).answer(service.request_type()(n=3))
    assert (answer.cost, list(answer.rows)) == (0.3, [{"toy": 0}, {"toy": 1}, {"toy": 2}])


def test_an_unknown_domain_lists_the_known(install) -> None:
    install()
    with pytest.raises(UserError, match=r"unknown domain 'toy'; did you mean 'toys'\? \(installed: .*molecules.*toys\)"):
        load_domain("toy")


def test_two_packages_with_one_name_are_told(install) -> None:
    install()
    install(package="other-domain")
    with pytest.raises(UserError, match=r"'toys' is claimed by .*(toy|other)_domain_module.* and by .*: uninstall one"):
        find_domains()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "import a_module_that_is_not_there"}, r"needs 'a_module_that_is_not_there', .*pip install 'toy-domain\[toys\]'"),
        ({"source": "import a_module_that_is_not_there", "extra": "x"}, r"not installed: pip install a_module_that_is_not_there"),
        ({"source": ""}, r"toy_domain_module:DOMAIN of the package toy-domain does not exist"),
        ({"source": "DOMAIN = 3"}, r"lacks name, description, commands, recipe, task, demo, models"),
        ({"name": "games"}, r"calls itself 'toys': the names must agree"),
    ],
)
def test_what_is_wrong_with_a_plug_in_is_told(install, options: dict[str, str], message: str) -> None:
    install(**options)
    with pytest.raises(UserError, match=message):
        load_domain(options.get("name", "toys"))


def test_a_package_that_is_half_gone_is_told(install) -> None:
    (install() / "toy_domain_module.py").unlink()
    with pytest.raises(UserError, match="cannot be imported: reinstall toy-domain"):
        load_domain("toys")


def test_a_missing_module_of_no_domain_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError), missing_extra_named("train"):
        raise ModuleNotFoundError("No module named 'x'", name="x")
