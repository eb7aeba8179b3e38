"""Copies the shared libraries of ONNX Runtime out of its Python wheel (a zip file) into a folder."""
import pathlib
import re
import shutil
import sys
import zipfile

wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = [n for n in archive.namelist() if re.fullmatch(r"onnxruntime/capi/libonnxruntime[^/]*\.so[.\d]*", n)]
    for name in names:
        with archive.open(name) as source, open(pathlib.Path(folder) / pathlib.PurePosixPath(name).name, "wb") as target:
            shutil.copyfileobj(source, target)
print(f"{len(names)} libraries: {' '.join(pathlib.PurePosixPath(n).name for n in names)}")
