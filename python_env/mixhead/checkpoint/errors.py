class CheckpointError(Exception):
    """A file that cannot be used, explained in one sentence."""


def one_ranks_shard(what: str) -> str:
    return (
        f"{what} is one rank's shard of an FSDP checkpoint: give eval/.../teacher_checkpoint.pth, "
        "which DINOv2 and CAPI write beside it, or a full state dict"
    )
