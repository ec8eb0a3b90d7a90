"""What fuzzing has found, as (target, input); each stays here once its cause is mended."""

FOUND: tuple[tuple[str, bytes], ...] = (("overlay", b"$..properties.*\n{:null}"),)
