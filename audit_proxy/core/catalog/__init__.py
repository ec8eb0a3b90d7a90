"""The platform's API: OpenAPI 3.0/3.1 plus an Overlay 1.0 file, compiled once (DESIGN section 5).

``overlay`` applies the overlay; ``schema`` flattens ``$ref``, ``allOf``, ``oneOf`` into extraction plans (``model``);
``compile`` makes operations of them; ``paging`` says what takes their cursors; ``target`` brings a request target to its
one normal form; ``matcher`` finds the operation; ``reviews`` says who has looked at what of it; ``parameters`` and ``fields``
judge what a request asks for. Everything here is pure: documents come in as parsed values, problems go out as text naming
the place.
"""

from audit_proxy.core.catalog.compile import compile_catalog
from audit_proxy.core.catalog.model import Catalog, Field, ObjectPlan, Operation, Parameter

__all__ = ["Catalog", "Field", "ObjectPlan", "Operation", "Parameter", "compile_catalog"]
