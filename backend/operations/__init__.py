"""Operations: making what the studio stands on, and saying whether it is well."""
