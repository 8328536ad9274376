// Files that the build puts into the program for the page (CMakeLists.txt): its style, its script,
// and the library that draws charts.
#pragma once

namespace isobit::html {

extern const char* const kPageCss;
extern const char* const kPageJs;
extern const char* const kChartLibrary;  // d3's bundle; empty: it was not there at build time
extern const char* const kChartLicense;

}  // namespace isobit::html
