select archive_table('people.intelligence'), archive_table('people.history'), archive_table('company.history');
select archive_table('people.master');
select archive_table('company.master');
drop function people.record_history();
drop function company.record_history();
