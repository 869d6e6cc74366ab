// Where the program finds what was installed with it.
#pragma once

#include <filesystem>

#include "precis/status.h"

namespace precis {

/// The file that this process runs; empty where the system does not tell.
std::filesystem::path executable_path();

/// The checkpoint that is used where none is named.  In this order: the directory in the
/// environment variable PRECIS_MODEL; models/mini next to the build directory that holds
/// `executable`; share/precis/models/mini of the prefix whose bin directory holds it.
///
/// Errors    kNotFound — none of them is there, or PRECIS_MODEL names something that is not
Result<std::filesystem::path> default_model_path(const std::filesystem::path& executable);

/// Whether `model` is a checkpoint that came with the program, whose example can be shown.
bool is_bundled_model(const std::filesystem::path& model, const std::filesystem::path& executable);

}  // namespace precis
