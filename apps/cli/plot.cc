#include "cli/plot.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include <fmt/format.h>

#include "cli/input.h"

namespace precis::cli {

Result<PictureFormat> picture_format(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path directory = path.parent_path();
  if (!directory.empty() && !std::filesystem::is_directory(directory, ignored)) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("there is no directory {} for the picture", directory.string())};
  }
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  if (extension == ".png") return PictureFormat::kPng;
  if (extension == ".svg") return PictureFormat::kSvg;
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("a picture's name must end in .png or .svg, found \"{}\"", path.string())};
}

Result<std::string> picture_of(const std::vector<Chart>& charts, PictureFormat format) {
  PlotSize page;
  for (const Chart& chart : charts) {
    const PlotSize size = std::visit([](const auto& each) { return size_of(each); }, chart);
    page.width = std::max(page.width, size.width);
    page.height += size.height;
  }
  Canvas canvas(format, page);
  for (const Chart& chart : charts) {
    std::visit(
        [&](const auto& each) {
          draw(each, canvas);
          canvas.shift_down(size_of(each).height);
        },
        chart);
  }
  return canvas.finish();
}

Result<void> write_picture(const std::filesystem::path& path, const std::vector<Chart>& charts) {
  PRECIS_ASSIGN_OR_RETURN(const PictureFormat format, picture_format(path));
  PRECIS_ASSIGN_OR_RETURN(const std::string bytes, picture_of(charts, format));
  return write_file(path, bytes);
}

}  // namespace precis::cli
