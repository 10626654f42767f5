ALTER TABLE customers ADD COLUMN note VARCHAR(500);
CREATE UNIQUE INDEX customers_email ON customers (email);
