import { UserError } from "../errors.ts";

const reasons: Record<string, string> = {
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of its path is not a folder",
  EEXIST: "a part of its path is not a folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "no space is left on the device",
};

/** An error of the file system as a sentence that names the file; other errors as they are. */
export function fileError(action: "read" | "write", path: string, error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
  if (code === undefined || error instanceof UserError) return error;
  const reason = reasons[code];
  return reason === undefined ? error : new UserError(`cannot ${action} ${path}: ${reason}`);
}
