# The op registry is made at configure time from the lines `TANDEM_OP(Name)` of tandem/ops/*.cpp.
# A new op is two new files and no edit anywhere else; there are no global constructors, so a static
# library keeps every op.

# Sets TANDEM_OPS (struct names, sorted), TANDEM_OP_POINT and TANDEM_OP_ROW (`header:Struct` of the
# ops with a shared kernel body), and TANDEM_OP_TABLE, the generated source.
function(tandem_op_table output)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tandem/ops/*.cpp")
  file(GLOB headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tandem/ops/*.h")
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                                                 ${sources} ${headers})
  set(ops "")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    file(STRINGS "${source}" lines REGEX "^TANDEM_OP\\([A-Za-z_0-9]+\\)")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^TANDEM_OP\\(([A-Za-z_0-9]+)\\).*" "\\1" op "${line}")
      if(op IN_LIST ops)
        message(FATAL_ERROR "tandem/ops/${stem}.cpp: TANDEM_OP(${op}) appears a second time")
      endif()
      list(APPEND ops "${op}")
      set(home_${op} "${stem}")
    endforeach()
    if(lines AND NOT EXISTS "${PROJECT_SOURCE_DIR}/tandem/ops/${stem}.h")
      message(FATAL_ERROR "tandem/ops/${stem}.cpp registers an op, but tandem/ops/${stem}.h "
                          "is missing: an op is two files")
    endif()
  endforeach()
  list(SORT ops)

  set(point "")
  set(row "")
  foreach(header IN LISTS headers)
    get_filename_component(stem "${header}" NAME_WE)
    file(READ "${header}" text)
    if(text MATCHES " samples\\(\\);" AND NOT EXISTS "${PROJECT_SOURCE_DIR}/tandem/ops/${stem}.cpp")
      message(FATAL_ERROR "tandem/ops/${stem}.h declares an op, but tandem/ops/${stem}.cpp "
                          "is missing: an op is two files")
    endif()
    string(REPLACE ";" "," text "${text}")
    string(REPLACE "[" "(" text "${text}")
    string(REPLACE "]" ")" text "${text}")
    string(REGEX REPLACE "\nstruct " ";" parts "${text}")
    foreach(part IN LISTS parts)
      if(NOT part MATCHES "^(TANDEM_API )?([A-Za-z_0-9]+)")
        continue()
      endif()
      set(struct "${CMAKE_MATCH_2}")
      if(NOT struct IN_LIST ops)
        continue()
      endif()
      if(part MATCHES "TANDEM_FN [^\n]* point\\(")
        list(APPEND point "${stem}:${struct}")
      elseif(part MATCHES "TANDEM_FN [^\n]* row\\(")
        list(APPEND row "${stem}:${struct}")
      endif()
    endforeach()
  endforeach()

  set(text "// Made by cmake/TandemOps.cmake from the lines TANDEM_OP(Name) of tandem/ops/*.cpp.\n")
  list(LENGTH ops count)
  if(count GREATER 0)
    string(APPEND text "#include \"tandem/op/registry.h\"\n\nnamespace tandem {\n\n")
    foreach(op IN LISTS ops)
      string(APPEND text "const OpInfo& op_row_${op}();\n")
    endforeach()
    string(APPEND text "\nconst OpInfo* const* op_table(int& count) {\n"
                       "  static const OpInfo* const table[] = {\n")
    foreach(op IN LISTS ops)
      string(APPEND text "      &op_row_${op}(),\n")
    endforeach()
    string(APPEND text "  };\n  count = ${count};\n  return table;\n}\n\n}  // namespace tandem\n")
  elseif(EXISTS "${PROJECT_SOURCE_DIR}/tandem/op/registry.h")
    string(APPEND text "#include \"tandem/op/registry.h\"\n\nnamespace tandem {\n\n"
                       "const OpInfo* const* op_table(int& count) {\n  count = 0;\n"
                       "  return nullptr;\n}\n\n}  // namespace tandem\n")
  endif()
  file(CONFIGURE OUTPUT "${output}" CONTENT "${text}" @ONLY)  # leaves an unchanged file alone

  set(TANDEM_OPS "${ops}" PARENT_SCOPE)
  set(TANDEM_OP_POINT "${point}" PARENT_SCOPE)
  set(TANDEM_OP_ROW "${row}" PARENT_SCOPE)
  set(TANDEM_OP_TABLE "${output}" PARENT_SCOPE)
endfunction()
