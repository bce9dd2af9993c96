"""Makes the helpers of this folder importable in the tests of all subfolders."""
