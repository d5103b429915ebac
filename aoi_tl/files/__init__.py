"""Files and folders: run folders, remote files, untrusted files, the cache folder."""
