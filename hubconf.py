"""torch.hub: the models and `predict` from another program, whatever modules of its own it has.

    model = torch.hub.load("OWNER/REPOSITORY", "sst_sal", flow=False)       or source="local" and a clone's folder
    maps = torch.hub.load("OWNER/REPOSITORY", "predict", frames, model)

Modules here have plain names, such as config, and so have other programs'. Seen from torch.hub they are therefore a
package of another name: `sst_sal_hub.config`.
"""

import ast
import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

dependencies = ["av", "cv2", "numpy", "torch", "tqdm"]

ROOT, PACKAGE = Path(__file__).resolve().parent, "sst_sal_hub"


def sst_sal(flow=True, device="cpu"):
    """The model that comes with the repository, in eval mode. flow: whether it reads optical flow beside the frames."""
    path = ROOT / "models" / ("SST_Sal.pth" if flow else "SST_Sal_wo_OF.pth")
    return importlib.import_module(f"{PACKAGE}.model").load_model(path, device)


def predict(frames, model, device="cpu", **settings):
    """Yields the saliency of each frame: see `inference.predict`."""
    return importlib.import_module(f"{PACKAGE}.inference").predict(frames, model, device, **settings)


def is_ours(name):
    """Whether an absolute import of that name, in a module here, means one here."""
    path = ROOT / name.partition(".")[0]
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


class InPackage(ast.NodeTransformer):
    """Rewrites `import config` as `from sst_sal_hub import config`, and `from files import x` likewise."""

    def visit_Import(self, node):
        ours = [alias for alias in node.names if is_ours(alias.name)]
        if not ours:
            return node
        assert ours == node.names and not any("." in alias.name for alias in ours), ast.unparse(node)
        return ast.copy_location(ast.ImportFrom(PACKAGE, node.names, 0), node)

    def visit_ImportFrom(self, node):
        if is_ours(node.module):
            node.module = f"{PACKAGE}.{node.module}"
        return node


class Loader(SourceFileLoader):
    def get_code(self, name):  # not from the cache of compiled files, which are those of the plain names
        tree = ast.parse(self.get_data(self.path), self.path)
        return compile(ast.fix_missing_locations(InPackage().visit(tree)), self.path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    """Finds the modules here by their names in the package."""

    def find_spec(self, name, path=None, target=None):
        if name == PACKAGE:
            return ModuleSpec(name, None, is_package=True)
        if not name.startswith(f"{PACKAGE}."):
            return None
        place = ROOT.joinpath(*name.split(".")[1:])
        if (folder := place / "__init__.py").is_file():
            return spec_from_file_location(name, folder, loader=Loader(name, str(folder)),
                                           submodule_search_locations=[str(place)])
        file = place.with_suffix(".py")
        return spec_from_file_location(name, file, loader=Loader(name, str(file))) if file.is_file() else None


if PACKAGE not in sys.modules:  # torch.hub runs this file at each call
    sys.meta_path.insert(0, Finder())
