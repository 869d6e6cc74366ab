#include "cli/exit_code.h"

#include <fmt/core.h>

#include "cli/json.h"

namespace precis::cli {

ExitCode exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kNotFound: return kMissing;
    case ErrorCode::kCorrupt: return kCorruptInput;
    case ErrorCode::kUnsupported: return kNotSupported;
    case ErrorCode::kBudget: return kDoesNotFit;
    case ErrorCode::kCancelled: return kInterrupted;
    case ErrorCode::kIo: return kIoFailed;
  }
  return kUsage;
}

int report(const Error& error, OutputFormat format) {
  if (format == OutputFormat::kJson) {
    print_json({{"error", {{"code", error_code_name(error.code)}, {"message", error.message}}}});
  } else {
    fmt::print(stderr, "precis: {}\n", error.message);
  }
  return exit_code(error.code);
}

int exit_code_of(const Result<int>& result, OutputFormat format) {
  return result ? *result : report(result.error(), format);
}

int exit_code_of(const Result<void>& result, OutputFormat format) {
  return result ? kOk : report(result.error(), format);
}

}  // namespace precis::cli
