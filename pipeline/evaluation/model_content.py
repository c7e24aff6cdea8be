"""What a model file is, whatever it is called: the digest under which its logits are kept."""

from pathlib import Path

from pipeline.artifact import Format, digest_of_data, digest_of_path


def digest_of_model(path: Path, format: Format) -> str:
    """sha256 of the file or folder; of an ONNX file with external data, over the digests of the file
    and of those that its weights are in, because its own bytes do not change with them.

    Raises StageError for an ONNX file that cannot be read, and for data that is not there or not in
    the file's folder.
    """
    content = digest_of_path(path)
    if format not in ("onnx", "qdq-onnx"):
        return content
    from pipeline.graph.foreign_file import external_files

    external = {name: digest_of_path(file) for name, file in external_files(path).items()}
    return digest_of_data({"file": content, "external": external}) if external else content
