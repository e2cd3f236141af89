"""Filling the templates of pages that need nothing beside themselves."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Return a page; every value is escaped, and a name that the template uses must be given.

    Args:
        template: File name in the ``stages`` package.
        values: What it is filled with.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_read)
    )
    return environment.get_template(template).render(**values)


def _read(name: str) -> str:
    return (files("stages") / name).read_text(encoding="utf-8")
