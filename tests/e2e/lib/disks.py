"""Small disks, full disks, read-only disks: tmpfs mounts of a test's own. Root only."""
import os
import subprocess


class Disk:
    """A tmpfs of size bytes at folder. Calling order: Disk -> fill/read_only/... -> stop()."""

    def __init__(self, folder, size):
        folder.mkdir(exist_ok=True)
        self.folder, self.filler = folder, folder / "filler"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)], check=True,
                       capture_output=True)

    def fill(self, leave=0):
        """Takes all free space but leave bytes."""
        free = os.statvfs(self.folder)
        size = free.f_bavail * free.f_frsize - leave
        with open(self.filler, "wb") as out:
            os.posix_fallocate(out.fileno(), 0, size)

    def make_room(self):
        self.filler.unlink()

    def read_only(self, on=True):
        subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.folder)], check=True, capture_output=True)

    def stop(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True, capture_output=True)


def can_mount(folder):
    """Whether this user, in this container, may mount."""
    if os.geteuid() != 0:
        return False
    try:
        Disk(folder / "probe", 65536).stop()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
