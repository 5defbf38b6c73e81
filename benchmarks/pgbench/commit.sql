INSERT INTO single (value) VALUES ('one row, one commit');
