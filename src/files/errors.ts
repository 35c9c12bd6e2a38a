import { RunError, UserError } from "../errors.ts";

const reasons: Record<string, string> = {
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of its path is not a folder",
  EEXIST: "a part of its path is not a folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
};

/** Errors of the disk rather than of the chosen path. They may be temporary. */
const ofTheDisk: Record<string, string> = {
  ENOSPC: "no space is left on the device",
  EDQUOT: "the quota is used up",
  EFBIG: "the file would be larger than is allowed",
  EROFS: "the file system is read-only",
  EIO: "the device fails",
};

/**
 * An error of the file system as a sentence that names the file: RunError "disk" if a write fails because of the disk
 * is, else UserError. Other errors as they are.
 */
export function fileError(action: "read" | "write", path: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === undefined || error instanceof UserError || error instanceof RunError) return error;
  const failing = ofTheDisk[code];
  if (failing !== undefined && action === "write") {
    return new RunError("disk", `cannot write ${path}: ${failing}`, { cause: error });
  }
  const reason = failing ?? reasons[code];
  return reason === undefined ? error : new UserError(`cannot ${action} ${path}: ${reason}`);
}

/** The system's name of an error, such as "ENOENT"; undefined if it has none. */
function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
