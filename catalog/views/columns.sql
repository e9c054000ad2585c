-- Every column of schemas core and mart with its meaning: the columns of a view cannot carry a comment
-- schema_name: core or mart
-- table_name: table or view
-- column_name: column
-- type: type of the column
-- unit: unit of its values; '' where it has none
-- doc: what it means
SELECT schema_name, table_name, column_name, type, unit, doc
FROM (VALUES {rows}) AS documented (schema_name, table_name, column_name, type, unit, doc)
